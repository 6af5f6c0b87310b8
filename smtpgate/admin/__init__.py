"""OFFICE: the HTTP side for people and scripts. It knows one object of the gateway, `control`, and nothing
behind it.
"""
