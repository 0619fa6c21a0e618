"""What rolling back on Netlify needs of its token."""

from taly.model.permissions import Needs, Token

NEEDS = Needs(
    tokens=(
        Token(
            provider="netlify",
            variable="NETLIFY_AUTH_TOKEN",
            read="a personal access token of a user who sees the site: Netlify's tokens have no "
            "scopes",
            write="its user may publish, lock and cancel deploys of the site",
        ),
    )
)
