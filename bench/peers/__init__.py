"""What Holdfast is measured against, each written as a good team would write it."""
