package changestream

// class is what a server's error code means for the stream (DESIGN.md, "Error codes").
type class string

const (
	// classTransient: a condition that ends without help. The token is good.
	classTransient class = "transient"
	// classOperator: an operator has to repair something at the server, such as a
	// privilege or a setting. The token is not the cause, so it is kept. At the
	// start keytail refuses to run.
	classOperator class = "operator"
	// classRequest: the server does not understand the request. The token may be
	// the cause, so with a token it is a loss. At the start, without one, keytail
	// refuses to run.
	classRequest class = "request"
	// classLoss: the history no longer exists, or cannot be delivered.
	classLoss class = "loss"
)

// errorCode describes one of the server's error codes.
type errorCode struct {
	name  string
	class class
	// advice is what to do, for the log.
	advice string
	// reason is the reason of the loss, for classLoss. Empty: reasonResumeRefused.
	reason Reason
}

// Advice that several codes share.
const (
	adviceNothing   = "no action needed, keytail retries"
	adviceElection  = "no action needed unless it persists; then check with rs.status() that the replica set has a primary"
	adviceNetwork   = "check the network between the members of the cluster, and that all of them run"
	adviceOverload  = "the server is overloaded or limits its clients: give it more resources or raise the limit"
	adviceSharding  = "no action needed unless it persists; then check the shards and the config servers"
	adviceClock     = "check the clocks of the cluster's members, and that all of them share their keys (admin.system.keys)"
	adviceTimeout   = "no action needed unless it persists; then find out why the server is slow"
	adviceLogin     = "check the user and the password in the connection string, authSource, and the addresses from which the user may connect"
	adviceGrant     = "grant the user find and changeStream on what --stream-scope watches (docs/deploy.md, Privileges)"
	adviceStableAPI = "do not set a server API version with strict on the client"
	adviceServer    = "keytail does not support this server: use a replica set of MongoDB 4.4 or later"
	adviceReport    = "the server does not understand keytail's request: check the server's version and report this"
	adviceUpgrade   = "the server is newer than keytail: upgrade keytail, or report this"
	adviceOplog     = "if it happens again, enlarge the oplog or find out what keeps keytail from reading it"
	adviceServerLog = "look for the cause in the server's log"
	adviceData      = "check the collection for damaged documents (validate)"
	adviceReplSet   = "start the server as a member of a replica set: change streams require one"
	adviceDisk      = "free disk space on the server"
)

// errorCodes are the codes that an aggregate, a getMore or a find can fail with,
// sorted by number. Source: src/mongo/base/error_codes.yml of the server
// (names and numbers), its change streams' source, and the drivers' lists of
// retryable and resumable errors. Codes that a server uses only internally, and
// those of other commands, are left out. To add a code: DESIGN.md, "Error codes",
// which has the same table; a test compares the two.
var errorCodes = map[int]errorCode{
	1:        {name: "InternalError", class: classLoss, advice: adviceServerLog},
	2:        {name: "BadValue", class: classRequest, advice: adviceReport},
	6:        {name: "HostUnreachable", class: classTransient, advice: adviceNetwork},
	7:        {name: "HostNotFound", class: classTransient, advice: adviceNetwork},
	8:        {name: "UnknownError", class: classLoss, advice: adviceServerLog},
	9:        {name: "FailedToParse", class: classRequest, advice: adviceReport},
	11:       {name: "UserNotFound", class: classOperator, advice: adviceLogin},
	13:       {name: "Unauthorized", class: classOperator, advice: adviceGrant},
	14:       {name: "TypeMismatch", class: classRequest, advice: adviceReport},
	18:       {name: "AuthenticationFailed", class: classOperator, advice: adviceLogin},
	20:       {name: "IllegalOperation", class: classRequest, advice: adviceReport},
	22:       {name: "InvalidBSON", class: classLoss, advice: adviceData},
	24:       {name: "LockTimeout", class: classTransient, advice: adviceTimeout},
	26:       {name: "NamespaceNotFound", class: classTransient, advice: "create the keys' collection, or check its name"},
	43:       {name: "CursorNotFound", class: classTransient, advice: adviceNothing},
	46:       {name: "LockBusy", class: classTransient, advice: adviceTimeout},
	50:       {name: "MaxTimeMSExpired", class: classTransient, advice: adviceTimeout},
	59:       {name: "CommandNotFound", class: classRequest, advice: adviceServer},
	63:       {name: "StaleShardVersion", class: classTransient, advice: adviceSharding},
	70:       {name: "ShardNotFound", class: classTransient, advice: adviceSharding},
	72:       {name: "InvalidOptions", class: classRequest, advice: adviceReport},
	73:       {name: "InvalidNamespace", class: classRequest, advice: "move the keys to another database: this one is reserved for the server"},
	76:       {name: "NoReplicationEnabled", class: classOperator, advice: adviceReplSet},
	89:       {name: "NetworkTimeout", class: classTransient, advice: adviceNetwork},
	90:       {name: "CallbackCanceled", class: classTransient, advice: adviceNothing},
	91:       {name: "ShutdownInProgress", class: classTransient, advice: adviceElection},
	93:       {name: "InvalidReplicaSetConfig", class: classTransient, advice: adviceElection},
	94:       {name: "NotYetInitialized", class: classTransient, advice: "initiate the replica set (rs.initiate)"},
	95:       {name: "NotSecondary", class: classTransient, advice: adviceElection},
	96:       {name: "OperationFailed", class: classTransient, advice: adviceServerLog},
	101:      {name: "OutdatedClient", class: classRequest, advice: adviceServer},
	107:      {name: "LockFailed", class: classTransient, advice: adviceTimeout},
	112:      {name: "WriteConflict", class: classTransient, advice: adviceNothing},
	115:      {name: "CommandNotSupported", class: classRequest, advice: adviceServer},
	117:      {name: "ConflictingOperationInProgress", class: classTransient, advice: adviceNothing},
	120:      {name: "OplogStartMissing", class: classLoss, advice: adviceOplog, reason: reasonHistoryLost},
	123:      {name: "NotAReplicaSet", class: classOperator, advice: adviceReplSet},
	133:      {name: "FailedToSatisfyReadPreference", class: classTransient, advice: adviceElection},
	134:      {name: "ReadConcernMajorityNotAvailableYet", class: classTransient, advice: adviceElection},
	136:      {name: "CappedPositionLost", class: classLoss, advice: adviceOplog, reason: reasonPositionLost},
	143:      {name: "CursorInUse", class: classTransient, advice: adviceNothing},
	145:      {name: "PooledConnectionsDropped", class: classTransient, advice: adviceNetwork},
	146:      {name: "ExceededMemoryLimit", class: classTransient, advice: adviceOverload},
	148:      {name: "ReadConcernMajorityNotEnabled", class: classOperator, advice: "start the server with majority read concern (enableMajorityReadConcern)"},
	149:      {name: "NoConfigPrimary", class: classTransient, advice: adviceSharding},
	150:      {name: "StaleEpoch", class: classTransient, advice: adviceSharding},
	164:      {name: "InitialSyncActive", class: classTransient, advice: adviceElection},
	166:      {name: "CommandNotSupportedOnView", class: classRequest, advice: "configure the collection itself: a view has no change stream"},
	167:      {name: "OptionNotSupportedOnView", class: classRequest, advice: "configure the collection itself: a view has no change stream"},
	168:      {name: "InvalidPipelineOperator", class: classRequest, advice: adviceServer},
	175:      {name: "QueryPlanKilled", class: classTransient, advice: adviceNothing},
	187:      {name: "LinearizableReadConcernError", class: classTransient, advice: adviceElection},
	188:      {name: "IncompatibleServerVersion", class: classRequest, advice: adviceServer},
	189:      {name: "PrimarySteppedDown", class: classTransient, advice: adviceElection},
	199:      {name: "ReplicaSetMonitorRemoved", class: classTransient, advice: adviceSharding},
	202:      {name: "NetworkInterfaceExceededTimeLimit", class: classTransient, advice: adviceNetwork},
	203:      {name: "ShardingStateNotInitialized", class: classTransient, advice: adviceSharding},
	204:      {name: "TimeProofMismatch", class: classTransient, advice: adviceClock},
	205:      {name: "ClusterTimeFailsRateLimiter", class: classTransient, advice: adviceClock},
	209:      {name: "StaleClusterTime", class: classTransient, advice: adviceClock},
	210:      {name: "CannotVerifyAndSignLogicalTime", class: classTransient, advice: adviceClock},
	211:      {name: "KeyNotFound", class: classTransient, advice: adviceClock},
	214:      {name: "AuthenticationRestrictionUnmet", class: classOperator, advice: adviceLogin},
	215:      {name: "DatabaseDropPending", class: classTransient, advice: adviceNothing},
	216:      {name: "ElectionInProgress", class: classTransient, advice: adviceElection},
	222:      {name: "CloseChangeStream", class: classLoss, advice: adviceNothing, reason: reasonCursorEnded},
	224:      {name: "QueryFeatureNotAllowed", class: classRequest, advice: adviceServer},
	234:      {name: "RetryChangeStream", class: classTransient, advice: adviceNothing},
	235:      {name: "InternalErrorNotSupported", class: classRequest, advice: adviceServer},
	237:      {name: "CursorKilled", class: classTransient, advice: "no action needed unless it persists; then find out what kills cursors or sessions"},
	238:      {name: "NotImplemented", class: classRequest, advice: adviceServer},
	239:      {name: "SnapshotTooOld", class: classTransient, advice: adviceTimeout},
	241:      {name: "ConversionFailure", class: classLoss, advice: adviceReport},
	246:      {name: "SnapshotUnavailable", class: classTransient, advice: adviceTimeout},
	249:      {name: "StaleDbVersion", class: classTransient, advice: adviceSharding},
	250:      {name: "StaleChunkHistory", class: classTransient, advice: adviceSharding},
	260:      {name: "InvalidResumeToken", class: classLoss, advice: adviceNothing, reason: reasonTokenRefused},
	261:      {name: "TooManyLogicalSessions", class: classTransient, advice: adviceOverload},
	262:      {name: "ExceededTimeLimit", class: classTransient, advice: adviceTimeout},
	264:      {name: "TooManyFilesOpen", class: classTransient, advice: "raise the server's limit of open files (ulimit -n)"},
	267:      {name: "PreparedTransactionInProgress", class: classTransient, advice: adviceNothing},
	272:      {name: "MigrationConflict", class: classTransient, advice: adviceSharding},
	279:      {name: "ClientDisconnect", class: classTransient, advice: adviceNetwork},
	280:      {name: "ChangeStreamFatalError", class: classLoss, advice: adviceNothing, reason: reasonTokenRemoved},
	286:      {name: "ChangeStreamHistoryLost", class: classLoss, advice: adviceOplog, reason: reasonHistoryLost},
	291:      {name: "NoQueryExecutionPlans", class: classOperator, advice: "create the missing index, or start the server without notablescan"},
	292:      {name: "QueryExceededMemoryLimitNoDiskUseAllowed", class: classTransient, advice: "create an index for the query's sort"},
	301:      {name: "DataCorruptionDetected", class: classLoss, advice: adviceData},
	303:      {name: "SplitHorizonChange", class: classTransient, advice: adviceElection},
	314:      {name: "ObjectIsBusy", class: classTransient, advice: adviceTimeout},
	317:      {name: "ConnectionPoolExpired", class: classTransient, advice: adviceNetwork},
	319:      {name: "MovePrimaryInProgress", class: classTransient, advice: adviceSharding},
	322:      {name: "APIVersionError", class: classOperator, advice: adviceStableAPI},
	323:      {name: "APIStrictError", class: classOperator, advice: adviceStableAPI},
	343:      {name: "ShardCannotRefreshDueToLocksHeld", class: classTransient, advice: adviceSharding},
	346:      {name: "ChangeStreamInvalidated", class: classLoss, advice: adviceNothing, reason: reasonInvalidate},
	347:      {name: "APIMismatchError", class: classOperator, advice: adviceStableAPI},
	348:      {name: "ChangeStreamTopologyChange", class: classTransient, advice: adviceSharding},
	351:      {name: "ChangeStreamStartAfterInvalidate", class: classLoss, advice: adviceNothing, reason: reasonTokenRefused},
	352:      {name: "UnsupportedOpQueryCommand", class: classRequest, advice: adviceServer},
	354:      {name: "LoadBalancerSupportMismatch", class: classOperator, advice: "set loadBalanced in the connection string as the server expects it"},
	355:      {name: "InterruptedDueToStorageChange", class: classTransient, advice: adviceNothing},
	357:      {name: "InvalidBSONType", class: classLoss, advice: adviceData},
	365:      {name: "TemporarilyUnavailable", class: classTransient, advice: adviceOverload},
	376:      {name: "ChangeStreamNotEnabled", class: classOperator, advice: "enable change streams for this database"},
	378:      {name: "NonConformantBSON", class: classLoss, advice: adviceData},
	391:      {name: "ReauthenticationRequired", class: classTransient, advice: adviceLogin},
	398:      {name: "StreamTerminated", class: classTransient, advice: adviceNetwork},
	401:      {name: "ResumeTenantChangeStream", class: classTransient, advice: adviceNothing},
	402:      {name: "ResourceExhausted", class: classTransient, advice: adviceOverload},
	404:      {name: "LDAPRoleAcquisitionError", class: classTransient, advice: "check that the server can reach its LDAP server"},
	407:      {name: "PooledConnectionAcquisitionExceededTimeLimit", class: classTransient, advice: adviceOverload},
	411:      {name: "QueryRejectedBySettings", class: classOperator, advice: "remove the query settings that reject keytail's queries (removeQuerySettings)"},
	412:      {name: "UpdatesStillPending", class: classTransient, advice: adviceNothing},
	433:      {name: "AdmissionQueueOverflow", class: classTransient, advice: adviceOverload},
	449:      {name: "RateLimitExceeded", class: classTransient, advice: adviceOverload},
	450:      {name: "PooledConnectionAcquisitionRejected", class: classTransient, advice: adviceOverload},
	453:      {name: "InterruptedDueToReshardingCriticalSection", class: classTransient, advice: adviceSharding},
	462:      {name: "IngressRequestRateLimitExceeded", class: classTransient, advice: adviceOverload},
	8000:     {name: "AtlasError", class: classOperator, advice: adviceLogin + "; grant the privileges listed in docs/deploy.md"},
	9001:     {name: "SocketException", class: classTransient, advice: adviceNetwork},
	10058:    {name: "LegacyNotPrimary", class: classTransient, advice: adviceElection},
	10107:    {name: "NotWritablePrimary", class: classTransient, advice: adviceElection},
	10334:    {name: "BSONObjectTooLarge", class: classLoss, advice: "keep each document of the collection, together with its change, below 16 MB", reason: reasonEventTooLarge},
	11600:    {name: "InterruptedAtShutdown", class: classTransient, advice: adviceElection},
	11601:    {name: "Interrupted", class: classTransient, advice: "no action needed unless it persists; then find out what kills operations"},
	11602:    {name: "InterruptedDueToReplStateChange", class: classTransient, advice: adviceElection},
	13388:    {name: "StaleConfig", class: classTransient, advice: adviceSharding},
	13435:    {name: "NotPrimaryNoSecondaryOk", class: classTransient, advice: adviceElection},
	13436:    {name: "NotPrimaryOrSecondary", class: classTransient, advice: adviceElection},
	14031:    {name: "OutOfDiskSpace", class: classTransient, advice: adviceDisk},
	40324:    {name: "UnrecognizedPipelineStage", class: classRequest, advice: adviceServer},
	40413:    {name: "IDLDuplicateField", class: classRequest, advice: adviceReport},
	40414:    {name: "IDLFailedToParse", class: classRequest, advice: adviceReport},
	40415:    {name: "IDLUnknownField", class: classRequest, advice: adviceReport},
	40573:    {name: "ChangeStreamNeedsReplicaSet", class: classOperator, advice: adviceReplSet},
	46841:    {name: "ClientMarkedKilled", class: classTransient, advice: adviceNothing},
	56846:    {name: "ConfigServerUnreachable", class: classTransient, advice: adviceSharding},
	91331:    {name: "RetriableRemoteCommandFailure", class: classTransient, advice: adviceNothing},
	10045600: {name: "InterruptedDueToFCVChange", class: classTransient, advice: adviceNothing},
}
