package conformance

import "github.com/keytail/keytail/internal/mongotest"

// differences lists the cases ("Test" or "Test/case") in which a server differs from
// MongoDB's manual, with the reason. The first key is the Kind of the server.
// -conformance.differences runs them, to see whether they still fail.
func differences() map[string]map[string]string {
	return map[string]map[string]string{
		mongotest.NameDevmongo: {},
		mongotest.NameSecantus: {
			"TestArrayIsRejectedAsId":                                           "stores a document whose _id is an array",
			"TestConcernsAreRejectedWhereTheyDoNotApply":                        "ignores concerns on commands that do not accept them",
			"TestRetriedWriteTakesEffectOnce/after execution":                   "does not add the label RetryableWriteError to a write concern error, so the driver does not retry",
			"TestInvalidUpdatesAreRejected/stage":                               "has another error code (168)",
			"TestInvalidUpdatesAreRejected/unknown stage":                       "has another error code (168)",
			"TestInvalidUpdatesAreRejected/field name starting with $":          "accepts the field name",
			"TestInvalidCommandsAreRejected/unknown option of find":             "ignores unknown options of find",
			"TestInvalidCommandsAreRejected/empty collection name":              "accepts the empty name",
			"TestInvalidCommandsAreRejected/linearizable with afterClusterTime": "accepts the combination",
			"TestInvalidCommandsAreRejected/aggregate without a collection":     "accepts it and returns nothing",
			"TestInvalidCommandsAreRejected/createIndexes of nothing":           "accepts an empty list",
			"TestInvalidCommandsAreRejected/unknown option of an index":         "has another error code (40415)",
		},
	}
}
