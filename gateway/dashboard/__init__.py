"""The dashboard: a static page at ``/``, fed with snapshots of the gateway once a second."""
