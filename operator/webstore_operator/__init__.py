"""The Kopf operator that rolls out WebStores on Kubernetes."""
