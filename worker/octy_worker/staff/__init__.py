"""Use cases of support staff, one function each, for every interface."""
