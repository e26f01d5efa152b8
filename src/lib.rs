//! Keeps Sitecore Experience Edge tokens valid in Kubernetes Secrets.
