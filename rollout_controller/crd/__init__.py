"""CustomResourceDefinitions, made from the types of `api`; nothing about a field is written down twice."""
