"""The language that learners are written in. Imports the standard library only."""
