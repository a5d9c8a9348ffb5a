"""Revokes a key as an application does that writes to MongoDB by itself, and
returns when every instance of keytail has heard of it.

    KEYTAIL_TOKEN=... python receipt.py MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL

What makes the receipt is two lines: the operation_time of the session that wrote
is the revision, and GET /v1/sync waits for it.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

from pymongo import MongoClient, WriteConcern


def revoke(client, database, collection, key_id):
    """Returns the write's revision: its session's operationTime, as 16 hex digits."""
    # Only what a majority has cannot be rolled back, so only that can be waited for.
    keys = client[database].get_collection(collection, write_concern=WriteConcern("majority"))
    # A fresh session, since a used one remembers later times.
    with client.start_session() as session:
        result = keys.update_one({"_id": key_id}, {"$set": {"is_active": False}}, session=session)
        if result.matched_count == 0:
            sys.exit("there is no key with this id")
        at = session.operation_time
    return f"{at.time:08x}{at.inc:08x}"


def wait(keytail, token, revision):
    """Asks any instance; it answers for all."""
    query = urllib.parse.urlencode({"revision": revision, "scope": "fleet", "timeout": "30s"})
    request = urllib.request.Request(f"{keytail}/v1/sync?{query}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=45) as response:
        return json.load(response)


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    uri, database, collection, key_id, keytail = sys.argv[1:]
    began = time.monotonic()
    with MongoClient(uri) as client:
        revision = revoke(client, database, collection, key_id)
    receipt = wait(keytail, os.environ["KEYTAIL_TOKEN"], revision)
    of, missing = len(receipt["instances"]), receipt["missing"]
    print(f"revoked on {of - len(missing)} of {of} instances in {time.monotonic() - began:.1f} s, revision {revision}")
    if not receipt["synced"]:
        sys.exit(f"still to hear of it: {missing}")


if __name__ == "__main__":
    main()
