"""Revokes a key as another program would: pymongo, one update, w:majority.

Usage: revoke.py URI DATABASE COLLECTION OBJECTID
"""

import sys

from bson import ObjectId
from pymongo import MongoClient, WriteConcern


def main() -> int:
    uri, database, collection, key_id = sys.argv[1:]
    with MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        keys = client[database].get_collection(collection, write_concern=WriteConcern("majority"))
        result = keys.update_one({"_id": ObjectId(key_id)}, {"$set": {"is_active": False}})
    print(f"pymongo: {result.modified_count} key revoked")
    return 0 if result.modified_count == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
