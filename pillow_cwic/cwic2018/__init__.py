"""Model ``cwic2018``: the paper's own networks, in torch. Nothing else has a special case for them."""
