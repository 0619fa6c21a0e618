"""What rolling back on Vercel needs of its token."""

from taly.model.permissions import Needs, Token

NEEDS = Needs(
    tokens=(
        Token(
            provider="vercel",
            variable="VERCEL_TOKEN",
            read="a token whose scope is the team that owns the project (`team`), or your own "
            "account",
            write="its user's role may roll back and promote to production, and change the project",
        ),
    )
)
