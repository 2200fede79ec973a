"""
The container image, written without a daemon: `python -m tools.build_image`.

`layout` says what stands where, `tree` fills a directory with what is ours, `host_python` with the machine's Python as
a base, `base` reads a base image's archive, `sbom` lists what went in, and `archive` writes layers and manifest. The
Containerfile calls the same `tree`, so both ways give the same files. Only the standard library is imported: the
Containerfile's build stage has nothing else.
"""
