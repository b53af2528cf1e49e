"""Installed servers, classrooms of old PCs over SSH, and the doctor, which checks a server."""
