"""Container images without Docker or a registry: OCI archives made from files and root trees.

What belongs here: the writer (`oci`), the root tree (`root`), the product's wheels (`product`), the
catalogue (`build`), one folder with a Dockerfile or the source for each image. What never does:
running a container, or talking to a cluster.
"""
