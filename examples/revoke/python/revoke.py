"""Revokes a key like an application that writes to MongoDB directly, and returns
when every instance of keytail has applied the revocation.

    KEYTAIL_TOKEN=... python revoke.py MONGODB_URI DATABASE COLLECTION KEY_ID KEYTAIL_URL

Two steps get the write acknowledgement: the operation_time of the session that wrote
is the revision, and GET /v1/sync waits until the fleet has applied it.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

from pymongo import MongoClient, WriteConcern


def revoke(client, database, collection, key_id):
    """Returns the revision of the write: the operationTime of its session, as 16 hexadecimal digits."""
    # Use write concern majority: any other write can be rolled back, so keytail cannot
    # acknowledge it.
    keys = client[database].get_collection(collection, write_concern=WriteConcern("majority"))
    # A new session, because a used one may have a later time.
    with client.start_session() as session:
        result = keys.update_one({"_id": key_id}, {"$set": {"is_active": False}}, session=session)
        if result.matched_count == 0:
            sys.exit("no key has this id")
        at = session.operation_time
    return f"{at.time:08x}{at.inc:08x}"


def wait(keytail, token, revision):
    """Sends the request to any instance, which responds for the whole fleet."""
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
    acknowledgement = wait(keytail, os.environ["KEYTAIL_TOKEN"], revision)
    total, missing = len(acknowledgement["instances"]), acknowledgement["missing"]
    print(f"revoked on {total - len(missing)} of {total} instances in {time.monotonic() - began:.1f} s, revision {revision}")
    if not acknowledgement["synced"]:
        sys.exit(f"not yet applied by: {missing}")


if __name__ == "__main__":
    main()
