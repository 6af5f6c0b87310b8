"""STORES: files and tables behind the ports of `interfaces`. Whatever touches the disk leaves the reactor
thread.
"""
