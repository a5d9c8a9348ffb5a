package keystore

import (
	"strings"
	"testing"
)

func TestNamesThatMeanOff(t *testing.T) {
	for _, name := range []string{
		"revoked", "Revoked", "REVOKED", "disabled", "blocked", "deleted", "banned", "inactive", "suspended", "deactivated",
		"is_revoked", "isRevoked", "IsRevoked", "IS_REVOKED", "is-revoked", "isrevoked", "isREVOKED", "_revoked", "revoked_", "revoked2",
		"isDisabled", "wasBanned", "was_banned", "hasBeenBlocked", "has_been_deleted", "hasbeensuspended",
		"revoked_at", "revokedAt", "revokedat", "revoked-at", "RevokedAt", "deletedOn",
		"keyRevoked", "APIKeyRevoked", "apikeydisabled", "customer_blocked", "softDeleted", "soft_deleted", "softdeleted", "disabledFlag", "disable",
		"not_active", "isNotActive", "notenabled", "noLongerValid", "no_longer_valid", "nonactive", "unusable", "isn't_active", "invalid",
		"is_off", "turnedOff", "expired", "locked", "archived", "cancelled", "canceled",
	} {
		if !NameMeansOff(name) {
			t.Errorf("%q does not mean off", name)
		}
		if NameMeansOn(name) {
			t.Errorf("%q means on", name)
		}
	}
}

func TestNamesThatMeanOn(t *testing.T) {
	for _, name := range []string{
		"active", "is_active", "isActive", "IS_ACTIVE", "isactive", "enabled", "keyEnabled", "valid", "is_valid", "live", "usable",
		"not_revoked", "notRevoked", "isNotDisabled", "undeleted", "unblocked", "isUnblocked", "un_banned", "nonRevoked", "never_revoked", "isnotrevoked",
	} {
		if !NameMeansOn(name) {
			t.Errorf("%q does not mean on", name)
		}
		if NameMeansOff(name) {
			t.Errorf("%q means off", name)
		}
	}
}

func TestNamesThatSayNothing(t *testing.T) {
	for _, name := range []string{
		"", "status", "state", "flag", "x", "interactive", "radioactive", "offline", "blocker", "office", "coffee", "locksmith", "invalidly", "avoid",
		"can_be_revoked", "canBeDisabled", "include_deleted", "showDeleted", "deleteProtection", "revocable", "valid_until", "validFrom",
		"active_or_revoked", "sperre", "revocado", "日本", "\xff\xfe", "ısrevoked", "not",
		strings.Repeat("isnot", 1000), strings.Repeat("un", 31) + "x",
	} {
		if NameMeansOff(name) || NameMeansOn(name) {
			t.Errorf("%q means off: %v, on: %v", name, NameMeansOff(name), NameMeansOn(name))
		}
	}
}
