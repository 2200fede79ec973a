"""
The plugin for tokens AWSPARAMSTR: values of AWS Systems Manager Parameter Store.

Belongs here: what SSM needs, from a token's metadata to its errors. Does not belong here: gRPC and the plugin's life
(`injector.sdk`), retries and keys inside a value (the host). Run as `python -m injector_awsparamstr`, never imported
by the product.
"""
