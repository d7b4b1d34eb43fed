"""The contenders: the same answer of two bytes, bare and behind each way to authenticate."""
