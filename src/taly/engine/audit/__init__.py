"""The audit trail: walked link by link, from the store or from an export."""

from taly.engine.audit.findings import Finding, Walked
from taly.engine.audit.lines import Line, read_lines, to_line
from taly.engine.audit.stored import verify_store
from taly.engine.audit.walk import Walk

__all__ = ["Finding", "Line", "Walk", "Walked", "read_lines", "to_line", "verify_store"]
