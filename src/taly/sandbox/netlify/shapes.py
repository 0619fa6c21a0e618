"""The emulated Netlify's JSON: deploys, sites, variables, users (netlify/open-api definitions)."""

from typing import Any

from taly.sandbox.netlify.records import DeployRecord, instant
from taly.sandbox.netlify.site import Site

ACCOUNT_ID = "5fa1c0ffee0000000000ac01"
ACCOUNT_SLUG = "sandbox"
USER_ID = "5fa1c0ffee0000000000fe01"


def deploy_json(site: Site, record: DeployRecord, url: str) -> dict[str, Any]:
    """`deploy`; `locked` is only ever true on the published deploy."""
    permalink = f"https://{record.id}--{site.name}.netlify.app"
    return {
        "id": record.id,
        "site_id": site.id,
        "user_id": USER_ID,
        "build_id": record.id[::-1],
        "state": site.reported_state(record),
        "name": site.name,
        "url": url,
        "ssl_url": url,
        "admin_url": f"https://app.netlify.com/sites/{site.name}",
        "deploy_url": permalink,
        "deploy_ssl_url": permalink,
        "screenshot_url": None,
        "review_id": None,
        "draft": False,
        "required": [],
        "required_functions": [],
        "error_message": record.error_message,
        "branch": record.branch,
        "commit_ref": record.commit,
        "commit_url": f"https://github.com/example/{site.name}/commit/{record.commit}",
        "skipped": None,
        "created_at": instant(record.created_at),
        "updated_at": instant(record.updated_at),
        "published_at": instant(record.published_at),
        "title": record.title,
        "context": record.context,
        "locked": site.locked and record.id == site.published,
        "review_url": None,
    }


def site_json(site: Site, url: str) -> dict[str, Any]:
    """`site`, with the published deploy inside."""
    published = site.deploys[site.published] if site.published else None
    return {
        "id": site.id,
        "state": "current",
        "plan": "nf_team_dev" if site.switches.plan == "free" else "nf_team_pro",
        "name": site.name,
        "custom_domain": None,
        "domain_aliases": [],
        "url": url,
        "ssl_url": url,
        "admin_url": f"https://app.netlify.com/sites/{site.name}",
        "created_at": instant(site.created_at),
        "updated_at": instant(published.updated_at if published else site.created_at),
        "user_id": USER_ID,
        "ssl": True,
        "force_ssl": True,
        "managed_dns": True,
        "deploy_url": f"https://main--{site.name}.netlify.app",
        "published_deploy": deploy_json(site, published, url) if published else None,
        "account_id": ACCOUNT_ID,
        "account_name": "Sandbox",
        "account_slug": ACCOUNT_SLUG,
        "git_provider": "github",
        "build_settings": {
            "provider": "github",
            "repo_path": f"example/{site.name}",
            "repo_branch": "main",
            "repo_url": f"https://github.com/example/{site.name}",
            "cmd": "npm run build",
            "dir": "dist",
            "stop_builds": site.stop_builds,
        },
        "prevent_non_git_prod_deploys": False,
    }


def env_json(site: Site) -> list[dict[str, Any]]:
    """`envVar` for every variable of the site."""
    return [
        {
            "key": key,
            "scopes": ["builds", "functions", "runtime", "post-processing"],
            "values": [{"id": f"{site.id}-{key}", "value": value, "context": "all"}],
            "is_secret": False,
            "updated_at": instant(updated_at),
            "updated_by": {"id": USER_ID, "full_name": "Sandbox", "email": "sandbox@example.com"},
        }
        for key, (value, updated_at) in sorted(site.env.items())
    ]


def user_json(sites: int) -> dict[str, Any]:
    """`user`: who the token belongs to."""
    return {
        "id": USER_ID,
        "uid": USER_ID,
        "full_name": "Sandbox",
        "email": "sandbox@example.com",
        "site_count": sites,
        "login_providers": ["github"],
    }


def account_json(plan: str) -> dict[str, Any]:
    """`accountMembership`: the team that owns the sites."""
    return {
        "id": ACCOUNT_ID,
        "name": "Sandbox",
        "slug": ACCOUNT_SLUG,
        "type": "TEAM",
        "type_name": "Pro" if plan == "pro" else "Free",
        "owner_ids": [USER_ID],
        "roles_allowed": ["Owner", "Developer"],
    }
