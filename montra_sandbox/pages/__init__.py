"""What a person sees: the hosted checkout and the sandbox's front page."""
