"""What is printed: tables for people; JSON, CSV and plain lines for programs."""
