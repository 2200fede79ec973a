"""
Admission of pods: from an AdmissionReview to a JSON patch, and the server that answers over TLS.

Belongs here: what labels and annotations mean, what a pod gets, certificates of the server. Does not belong here: calls
of the API server (`kube`), rendering, and anything that a pod without the webhook could not have written itself.
"""
