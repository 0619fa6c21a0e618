"""The adapters for the vendors, each behind the port `taly.model.ports.Provider`."""
