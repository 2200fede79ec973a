"""
For plugin authors: a store of tokens is written as a class, `serve` makes a go-plugin program of it.

    from injector.sdk.errors import NotFound
    from injector.sdk.serving import serve
    from injector.sdk.store import LookupStore, Reference

    class Files(LookupStore):
        def look_up(self, reference: Reference) -> str | bytes:
            ...

    serve(Files())

Belongs here: what a plugin's own process needs. Does not belong here: hosts, and anything of the product; only
`injector.errors` and `injector._proto` are imported. May be imported by plugins, by nothing of the product.
"""
