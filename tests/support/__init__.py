"""What tests of several rooms share: small worlds of real parts."""
