"""Messages made to hurt whoever reads them, against a running gateway: `make hostile`."""
