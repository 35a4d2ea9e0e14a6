"""Deploys Cutdrop with gcloud and Terraform: `make deploy`, or `python3 -m infra.deploy` in the repository's root.

It needs Python 3.11 and nothing outside its standard library.
"""
