"""This machine's firewall: do its rules let in what PCs send, and let out what they are answered?"""
