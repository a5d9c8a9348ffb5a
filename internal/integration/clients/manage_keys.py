"""The life of a key, by a client that openapi-python-client has generated in the
directory keytail_api. It prints one line for each step, and fails at the first response
that is not of the type that the document promises.

    KEYTAIL_URL=... KEYTAIL_CALLER_TOKEN=... KEYTAIL_ADMIN_URL=... KEYTAIL_ADMIN_TOKEN=... python manage_keys.py
"""

import os

import httpx
from keytail_api import AuthenticatedClient
from keytail_api.api.admin import create_key, explain_key, get_key, get_status, list_audit, list_keys
from keytail_api.api.admin import revoke_key, revoke_keys_of_owner, revoke_leaked_key, rotate_key, update_key
from keytail_api.api.public import verify_key
from keytail_api.models import AuditList, CreateKeyRequest, Explanation, Key, KeyList, Metadata, NewKey, Problem, RotateRequest
from keytail_api.models import RevokedKeys, RevokedLeakedKey, RevokeKeysRequest, RevokeLeakedKeyRequest, Status, UpdateKeyRequest, Verdict, VerifyRequest, WaitFor, WrittenKey

USER = "user of the Python client"

public = AuthenticatedClient(base_url=os.environ["KEYTAIL_URL"], token=os.environ["KEYTAIL_CALLER_TOKEN"])
# A call with wait can take as long as its timeout.
admin = AuthenticatedClient(
    base_url=os.environ["KEYTAIL_ADMIN_URL"], token=os.environ["KEYTAIL_ADMIN_TOKEN"], timeout=httpx.Timeout(30)
)


def expect(kind, answer):
    """Returns the answer if it is of this type."""
    assert isinstance(answer, kind), answer
    return answer


def code(key):
    verdict = expect(Verdict, verify_key.sync(client=public, body=VerifyRequest(key=key, scopes=["orders:read"])))
    assert verdict.valid is (verdict.code == "VALID"), verdict
    return verdict.code


def ids():
    """Returns the ids of the user's keys, one from each page."""
    found, cursor = [], {}
    while True:
        page = expect(KeyList, list_keys.sync(client=admin, user_id=USER, include_inactive=True, limit=1, **cursor))
        found += [key.id for key in page.keys]
        if page.next_cursor is None:
            return found
        cursor = {"cursor": page.next_cursor}


status = expect(Status, get_status.sync(client=admin))
assert status.state == "live" and status.instance, status

metadata = Metadata.from_dict({"plan": {"seats": 7}})
request = CreateKeyRequest(user_id=USER, name="ci", scopes=["orders:*"], expires_at=None, metadata=metadata)
first = expect(NewKey, create_key.sync(client=admin, body=request))
second = expect(NewKey, create_key.sync(client=admin, body=CreateKeyRequest(user_id=USER), wait=WaitFor.INSTANCE))
assert first.metadata == metadata and first.expires_at is None and first.created_at.tzinfo, first
print("created:", code(first.key))

assert ids() == [second.id, first.id], ids()
print("listed: 2 pages")

cleared = expect(WrittenKey, update_key.sync(first.id, client=admin, body=UpdateKeyRequest(name=None)))
assert cleared.name == "" and cleared.scopes == ["orders:*"], cleared
print("changed: null removes the name, an absent field stays")

rotated = expect(NewKey, rotate_key.sync(first.id, client=admin, body=RotateRequest(overlap_seconds=3600)))
assert rotated.rotated_from == first.id and rotated.previous_expires_at > first.created_at, rotated
print(f"rotated: old {code(first.key)}, new {code(rotated.key)}")

revoked = expect(WrittenKey, revoke_key.sync(rotated.id, client=admin, wait=WaitFor.FLEET, timeout="20s"))
assert revoked.synced is True and revoked.missing == [], revoked
print(f"revoked: applied by {len(revoked.instances)} instance")
print("verified again:", code(rotated.key))

problem = expect(Problem, get_key.sync("no-such-key", client=admin))
print("refused:", problem.status, problem.code)

explanation = expect(Explanation, explain_key.sync(second.id, client=admin, scope=["orders:read", "orders:write"]))
assert explanation.valid is explanation.database.valid is False and explanation.instance == status.instance, explanation
print("explained:", explanation.code, explanation.reason)

leak = RevokeLeakedKeyRequest(key=second.key)
leaked = expect(RevokedLeakedKey, revoke_leaked_key.sync(client=admin, body=leak, wait=WaitFor.FLEET, timeout="20s"))
assert leaked.revoked == 1 and leaked.synced is True and leaked.keys[0].id == second.id, leaked
print("leaked:", code(second.key))

owner = RevokeKeysRequest(user_id=USER, dry_run=True)
would = expect(RevokedKeys, revoke_keys_of_owner.sync(client=admin, body=owner))
assert would.dry_run is True and would.key_ids == [first.id] and would.failed == [] and would.revision is None, would
owner.dry_run = False
left = expect(RevokedKeys, revoke_keys_of_owner.sync(client=admin, body=owner, wait=WaitFor.INSTANCE))
assert left.key_ids == would.key_ids and left.next_cursor is None and left.synced is True, left
print(f"revoked all: {len(left.key_ids)} key, {code(first.key)}")

audit = expect(AuditList, list_audit.sync(client=admin, key_id=rotated.id, action="revoke"))
entry = audit.entries[0]
assert entry.before is not None and expect(Key, get_key.sync(entry.key_id, client=admin)).is_active is False, entry
causes = [(line.action, line.cause) for line in expect(AuditList, list_audit.sync(client=admin, user_id=USER, action="revoke", limit=2)).entries]
assert causes == [("revoke", "owner"), ("revoke", "leaked")], causes
print("audited:", entry.action)
