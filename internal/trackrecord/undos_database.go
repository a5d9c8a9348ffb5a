package main

const (
	pkgKeystore = "./internal/keystore"
	pkgKeyadmin = "./internal/keyadmin"
	pkgDevmongo = "./internal/devmongo"
)

// databaseUndos are repairs of the packages that read and write keys, and of devmongo.
var databaseUndos = []undo{
	{
		name: "array-of-many-hashes",
		edits: []edit{{
			"internal/keystore/hashlookup.go",
			"\t\thashes = append(hashes, hash)\n",
			"\t\tif len(hashes) == MaxHashes {\n\t\t\treturn hashes, false\n\t\t}\n\t\thashes = append(hashes, hash)\n",
		}},
		pkg: pkgKeystore, test: "TestHashesOfADocument", shows: "too many: got hash false, 1000 others",
	},
	{
		name: "shared-list",
		edits: []edit{{
			"internal/keystore/decode.go",
			"slices.Clip(d.schema.DefaultScopes)",
			"slices.Grow(d.schema.DefaultScopes, 0)",
		}},
		pkg: pkgKeystore, test: "TestListsOfARecordHaveNoSpareCapacity", shows: "default scopes: 1 of 8 scopes",
	},
	{
		name: "commit-taken-for-failed",
		edits: []edit{{
			"internal/keystore/transaction.go",
			"return err != nil && !hasCode(err, codeNoSuchTransaction, codeIllegalOperation, codeNotInTransaction)",
			"return err != nil && isUncertain(err) && !hasCode(err, codeNoSuchTransaction, codeIllegalOperation, codeNotInTransaction)",
		}},
		pkg: pkgKeystore, test: "TestOutcomeOfACommit/devmongo/refused_forever", shows: "committing a write is not allowed",
	},
	{
		name: "no-shard-key",
		edits: []edit{{
			"internal/keystore/write.go",
			"if f.name == s.Hash && (v.Type == bson.TypeString || v.Type == bson.TypeBinary) {",
			"if false {",
		}},
		pkg: pkgKeystore, test: "TestAChangeNamesTheShardKey", shows: "the filter has  as the hash",
	},
	{
		name: "inverted-switch",
		edits: []edit{{
			"internal/keystore/activename.go",
			"if s.ActiveForm != \"\" || !NameMeansOff(s.Active) {",
			"if s.ActiveForm != \"never\" {",
		}},
		pkg: pkgKeystore, test: "TestInvertedSwitchIsRefusedByItsName", shows: "revoked, \"\": <nil>",
	},
	{
		name: "no-hello",
		edits: []edit{{
			"internal/mongoclient/hello.go",
			"if errors.As(err, &refusal) && refusal.HasErrorCode(codeCommandNotFound) {",
			"if errors.As(err, &refusal) && false {",
		}},
		pkg: pkgKeystore, test: "TestAServerWithoutHello", shows: "no such command: 'hello'",
	},
	{
		name: "revocation-that-stops",
		edits: []edit{{
			"internal/keyadmin/revoke.go",
			"\t\t\tif r.done == 0 {\n\t\t\t\treturn managedkey.RevokedPage{}, err\n",
			"\t\t\tif r.done == 0 {\n\t\t\t\treturn managedkey.RevokedPage{}, nil\n",
		}},
		pkg: pkgKeyadmin, test: "TestARevocationThatStopsIsContinued/devmongo", shows: "while the writes are refused: <nil>",
	},
	{
		name: "key-of-another-owner",
		edits: []edit{{
			"internal/keyadmin/revoke.go",
			"if !r.selects(&current.Record) {",
			"if false {",
		}},
		pkg: pkgKeyadmin, test: "TestAKeyThatHasChangedHandsIsNotRevoked/devmongo", shows: "4 keys and 4 lines, want 4 and 1",
	},
	{
		name: "usage-batch",
		edits: []edit{{
			"internal/usage/batch.go",
			"b.size.Store(max(1, min(b.size.Load(), sent)/2))",
			"_ = sent",
		}},
		pkg: "./internal/usage", test: "TestAFlushThatTimesOutIsMadeSmaller", shows: "0 updates were written in 5 min",
	},
	{
		name: "fleet-without-bound",
		edits: []edit{{
			"internal/fleet/size.go",
			"return min(max(1, int(f.size.Load())), maxSize)",
			"return max(1, int(f.size.Load()))",
		}},
		pkg: "./internal/fleet", test: "TestSizeHasABound", shows: "the size is 20000",
	},
	{
		name: "devmongo-duplicate-field",
		edits: []edit{{
			"internal/devmongo/command_args.go",
			"if _, twice := seen[e.Key]; twice {",
			"if _, twice := seen[e.Key]; twice && false {",
		}},
		pkg: pkgDevmongo, test: "TestDuplicateFieldsAreRejected", shows: "maxTimeMS: {\"cursor\"",
	},
	{
		name: "devmongo-nan",
		edits: []edit{{
			"internal/devmongo/match_operators.go",
			"return rank(v) == rank(want) && isNaN(v) == isNaN(want) && matches(name, compare(v, want))",
			"return rank(v) == rank(want) && matches(name, compare(v, want))",
		}, {
			"internal/devmongo/match_operators.go",
			"func isNaN(v any) bool {",
			"var _ = isNaN\n\nfunc isNaN(v any) bool {",
		}},
		pkg: "./internal/devmongo/conformance", test: "TestNotANumber/devmongo", shows: "[1 2], want [2]",
	},
	{
		name: "symbol-without-length",
		edits: []edit{{
			"internal/keystore/docid.go",
			"text, ok := v.SymbolOK()",
			"text, ok := v.Symbol(), true",
		}},
		pkg: pkgKeystore, test: "TestDecodeOfATextWithoutLength", shows: "the decoder panics",
	},
}
