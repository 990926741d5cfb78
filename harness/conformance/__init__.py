"""What every bijection must do, measured: checks that return numbers and never assert."""
