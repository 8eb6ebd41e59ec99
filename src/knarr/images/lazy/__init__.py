"""Layers that containers use before they have come: who watches over them, and who brings them."""
