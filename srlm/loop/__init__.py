"""What one iteration is made of: the order of its stages, its gates, and what happens beside them."""
