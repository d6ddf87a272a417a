"""Consent of contact points."""
