"""The float networks of ``cwic1`` as training sees them; releases hold the integers made of them (../quantise.py)."""
