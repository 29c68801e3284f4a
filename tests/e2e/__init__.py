"""Wangell on a real Kubernetes: installed as its manifests say, called from outside.

Figures go to out/e2e.json.
"""
