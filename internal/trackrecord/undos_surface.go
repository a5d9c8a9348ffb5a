package main

const (
	pkgAuth   = "./auth"
	pkgClient = "./client"
)

// surfaceUndos are repairs of what callers see, and of how the daemon is run.
var surfaceUndos = []undo{
	{
		name: "options-star",
		edits: []edit{{
			"internal/cli/server.go",
			"DisableGeneralOptionsHandler: true,",
			"DisableGeneralOptionsHandler: false,",
		}},
		pkg: "./internal/cli", test: "TestTheHandlerAnswersEveryRequest", shows: "OPTIONS *: 200",
	},
	{
		name: "negative-days",
		edits: []edit{{
			"internal/cli/keys.go",
			"if err == nil && (n > maxDays || n < -maxDays) {",
			"if err == nil && n > maxDays {",
		}},
		pkg: "./internal/cli", test: "TestReadExpiry", shows: "\"-200000d\": 20",
	},
	{
		name: "upload-after-revocation",
		edits: []edit{{
			"auth/canceller.go",
			"if c.unread && conn == nil {",
			"if false {",
		}, {
			"auth/done_test.go",
			"const patience = 20 * time.Second",
			"const patience = 2 * time.Second",
		}},
		pkg: pkgAuth, test: "TestRevocationCancelsAnUpload/gin/HTTP/1.1$", shows: "timeout:  the end",
	},
	{
		name: "key-moved-to-another-org",
		edits: []edit{{
			"auth/session.go",
			"case s.isMoved(verdict.Key):",
			"case false && s.isMoved(verdict.Key):",
		}, {
			"auth/done_test.go",
			"const patience = 20 * time.Second",
			"const patience = 2 * time.Second",
		}},
		pkg: pkgAuth, test: "TestDoneIsClosedWhenTheKeyIsMoved/bound_org/gin", shows: "Done is still open, want FORBIDDEN",
	},
	{
		name: "revision-of-a-replaced-database",
		edits: []edit{{
			"auth/session.go",
			"if errors.Is(err, ErrRevisionAhead) {",
			"if false {",
		}, {
			"auth/done_test.go",
			"const patience = 20 * time.Second",
			"const patience = 2 * time.Second",
		}},
		pkg: pkgAuth, test: "TestRecheckDropsARevisionOfAReplacedDatabase/gin", shows: "Done is still open, want DISABLED",
	},
	{
		name: "no-watcher",
		edits: []edit{{
			"auth/gate.go",
			"if g.cancel || g.cancelOnOutage {",
			"if false {",
		}},
		pkg: pkgAuth, test: "TestCancelOnRevocationWithoutAWatcherPanics", shows: "the panic is \"<nil>\"",
	},
	{
		name: "query-kept-by-gin",
		edits: []edit{{
			"auth/middleware.go",
			"clear(c.QueryArray(name))",
			"_ = c.QueryArray(name)",
		}},
		pkg: pkgAuth, test: "TestHideCredentialsFromGinsQuery", shows: "in the handler \"secret[secret]1\"",
	},
	{
		name: "client-101",
		edits: []edit{{
			"client/transport.go",
			"if response.StatusCode == http.StatusSwitchingProtocols {",
			"if false {",
		}, {
			"client/main_test.go",
			"\tpatience = 20 * time.Second",
			"\tpatience = 4 * time.Second",
		}},
		pkg: pkgClient, test: "TestStatus101IsNotAVerdict", shows: "Validate has not returned after Timeout",
	},
	{
		name: "client-prints-token",
		edits: []edit{{
			"client/client.go",
			"config.Token = \"\"",
			"_ = \"\"",
		}, {
			"client/config.go",
			"if c.Token != \"\" {",
			"if false {",
		}},
		pkg: pkgClient, test: "TestNoFormatVerbPrintsTheToken", shows: "struct { C client.Config } with %+v: ",
	},
	{
		name: "client-newer-daemon",
		edits: []edit{{
			"client/transport.go",
			"if errors.Is(err, errOtherRequest) {",
			"if errors.Is(err, errOtherRequest) && false {",
		}},
		pkg: pkgClient, test: "TestFailuresThatDoNotOpenTheCircuit/newer_daemon", shows: "the circuit breaker is open",
	},
	{
		name: "joined-key-in-request-id",
		edits: []edit{{
			"internal/forwardauth/requestid.go",
			"if len(key) >= apikey.MinTextLen && strings.Contains(text, key) {",
			"if len(key) >= apikey.MinTextLen && false {",
		}},
		pkg: "./internal/forwardauth", test: "TestContainsKeyInJoinedHeaders", shows: "X-Api-Key: key-of-root,b, key-of-root: got false",
	},
	{
		name: "refused-for-another-file",
		edits: []edit{{
			"internal/reload/reload.go",
			"if same && !f.unusable {",
			"if same {",
		}},
		pkg: "./internal/reload", test: "TestAWrongFileStaysRefused|TestReload", shows: "-keytail_file_refused",
	},
	{
		name: "line-cut-short",
		edits: []edit{{
			"internal/decisionlog/file.go",
			"return last[0] != '\\n'",
			"return false",
		}},
		pkg: "./internal/decisionlog", test: "TestALineThatACrashHasCutShort", shows: "{\"time\":{\"time\":",
	},
	{
		name: "secret-of-an-otlp-header",
		edits: []edit{{
			"internal/telemetry/redact.go",
			"if text, known := whatToDo[message]; known {",
			"if text, known := whatToDo[message]; false && known {",
		}},
		pkg: "./internal/telemetry", test: "TestNoLineHasTheValueOfAVariable", shows: "map[text:parse headers]",
	},
	{
		name: "event-behind-others",
		edits: []edit{{
			"internal/events/subscription.go",
			"if more {",
			"if more && false {",
		}},
		pkg: "./internal/events", test: "TestManyEventsOfOthersDoNotHideOne", shows: "got [], context deadline exceeded",
	},
	{
		name: "checker-without-ages",
		edits: []edit{{
			"internal/historycheck/judge.go",
			"if v.maxStale == 0 && !v.hasAge() {",
			"if false {",
		}},
		pkg: "./internal/historycheck", test: "TestWhatNeedsNoAgeIsJudgedWithoutOne", shows: "{key:other code:VALID",
	},
	{
		name: "escaped-key-in-note",
		edits: []edit{{
			"internal/history/fields.go",
			`if bytes.IndexByte(value, '\\') >= 0 {`,
			"if f.kind == escaped {",
		}},
		pkg: "./internal/history", test: "TestWhatIsNotUnderstoodIsRefused", shows: "escapes in a note: got <nil>",
	},
	{
		name: "checker-convicts-without-change",
		edits: []edit{{
			"internal/historycheck/judge.go",
			"if w.revision != 0 && v.timeline.find(w, lasted) != nil {",
			"if false && w.revision != 0 && v.timeline.find(w, lasted) != nil {",
		}},
		pkg: "./internal/historycheck", test: "TestAWriteThatChangesNothingEndsNothing", shows: "across its expiry: got false, want true",
	},
	{
		name: "expiry-left-out",
		edits: []edit{{
			"internal/propose/guess_expiry.go",
			"choose(g.future()); !ok",
			"choose(nil); !ok",
		}},
		pkg: "./internal/propose", test: "TestATimeToComeIsNotLeftOut", shows: "Status:none",
	},
	{
		name: "key-as-an-id",
		edits: []edit{{
			"internal/forwardauth/requirements.go",
			"if apikey.IsGenerated(id) {",
			"if apikey.IsGenerated(id) && false {",
		}},
		pkg: "./internal/forwardauth", test: "TestAKeyIsNoIDAndNoScope", shows: "an id: got <nil>, accepted is to be false",
	},
	{
		name: "key-behind-a-beginning",
		edits: []edit{{
			"internal/apikey/key.go",
			"if cut < 0 || text[cut] != '_' {",
			"if cut < 0 || strings.IndexByte(text, '_') != cut {",
		}},
		pkg: "./internal/apikey", test: "TestAKeyBehindABeginningIsGenerated", shows: `after "sk_live_": a key of keytail's own is not known as one`,
	},
}
