"""What support staff does: one function a use case, for every interface."""
