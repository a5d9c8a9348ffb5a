package changestream

// class is what a server's error code means for the stream.
type class string

const (
	// classPasses: a condition that ends by itself. The token is good.
	classPasses class = "passes"
	// classOutside: somebody has to mend it at the server: a privilege, a setting.
	// It has nothing to do with the token, which is kept; a start is refused.
	classOutside class = "outside"
	// classRequest: the server does not understand the request. The token may be
	// why, so with one it is a loss; a start, which has none, is refused.
	classRequest class = "request"
	// classLoss: the history is gone, or cannot be delivered.
	classLoss class = "loss"
)

// errorCode is what is known of one of the server's error codes.
type errorCode struct {
	name  string
	class class
	// advice says what to do, for the log.
	advice string
	// reason is that of the loss, for classLoss. Empty: reasonResumeRefused.
	reason Reason
}

// What there is to do about several codes.
const (
	doNothing   = "nothing to do, keytail tries again by itself"
	doElection  = "nothing to do unless it lasts: then check with rs.status() that the replica set has a primary"
	doNetwork   = "check the network between the members of the cluster, and that all of them run"
	doOverload  = "the server is overloaded or limits its clients: give it more resources or raise the limit"
	doSharding  = "nothing to do unless it lasts: then check the shards and the config servers"
	doClock     = "check the clocks of the members of the cluster, and that all of them share their keys (admin.system.keys)"
	doTimeout   = "nothing to do unless it lasts: then look for what makes the server slow"
	doLogin     = "check the user and the password in the connection string, authSource, and from where the user may connect"
	doGrant     = "grant the user find and changeStream on what --stream-scope watches (README.md, Privileges)"
	doStableAPI = "do not set a server API version with strict on the client"
	doServer    = "this is not a MongoDB server that keytail supports: use a replica set of MongoDB 4.4 or later"
	doReport    = "keytail's request is not understood: check the server's version, and report this"
	doUpgrade   = "the server is newer than keytail: upgrade keytail, or report this"
	doOplog     = "if it happens again make the oplog larger, or look for what keeps keytail from reading it"
	doServerLog = "look into the server's log for the cause"
	doData      = "check the collection for damaged documents (validate)"
	doReplSet   = "start the server as a member of a replica set: a change stream needs one"
	doDisk      = "free disk space on the server"
)

// errorCodes are the codes that an aggregate, a getMore or a find can fail with,
// sorted by what they mean. Source: src/mongo/base/error_codes.yml of the server
// (names and numbers), its change streams' source, and the drivers' lists of
// retryable and resumable errors. Left out are codes that a server keeps to
// itself, and those of other commands. DESIGN.md has the same table, for people.
var errorCodes = map[int]errorCode{
	1:        {name: "InternalError", class: classLoss, advice: doServerLog},
	2:        {name: "BadValue", class: classRequest, advice: doReport},
	6:        {name: "HostUnreachable", class: classPasses, advice: doNetwork},
	7:        {name: "HostNotFound", class: classPasses, advice: doNetwork},
	8:        {name: "UnknownError", class: classLoss, advice: doServerLog},
	9:        {name: "FailedToParse", class: classRequest, advice: doReport},
	11:       {name: "UserNotFound", class: classOutside, advice: doLogin},
	13:       {name: "Unauthorized", class: classOutside, advice: doGrant},
	14:       {name: "TypeMismatch", class: classRequest, advice: doReport},
	18:       {name: "AuthenticationFailed", class: classOutside, advice: doLogin},
	20:       {name: "IllegalOperation", class: classRequest, advice: doReport},
	22:       {name: "InvalidBSON", class: classLoss, advice: doData},
	24:       {name: "LockTimeout", class: classPasses, advice: doTimeout},
	26:       {name: "NamespaceNotFound", class: classPasses, advice: "create the collection of the keys, or check its name"},
	43:       {name: "CursorNotFound", class: classPasses, advice: doNothing},
	46:       {name: "LockBusy", class: classPasses, advice: doTimeout},
	50:       {name: "MaxTimeMSExpired", class: classPasses, advice: doTimeout},
	59:       {name: "CommandNotFound", class: classRequest, advice: doServer},
	63:       {name: "StaleShardVersion", class: classPasses, advice: doSharding},
	70:       {name: "ShardNotFound", class: classPasses, advice: doSharding},
	72:       {name: "InvalidOptions", class: classRequest, advice: doReport},
	73:       {name: "InvalidNamespace", class: classRequest, advice: "keys cannot be kept in a database of the server's own: move them"},
	76:       {name: "NoReplicationEnabled", class: classOutside, advice: doReplSet},
	89:       {name: "NetworkTimeout", class: classPasses, advice: doNetwork},
	90:       {name: "CallbackCanceled", class: classPasses, advice: doNothing},
	91:       {name: "ShutdownInProgress", class: classPasses, advice: doElection},
	93:       {name: "InvalidReplicaSetConfig", class: classPasses, advice: doElection},
	94:       {name: "NotYetInitialized", class: classPasses, advice: "initiate the replica set (rs.initiate)"},
	95:       {name: "NotSecondary", class: classPasses, advice: doElection},
	96:       {name: "OperationFailed", class: classPasses, advice: doServerLog},
	101:      {name: "OutdatedClient", class: classRequest, advice: doServer},
	107:      {name: "LockFailed", class: classPasses, advice: doTimeout},
	112:      {name: "WriteConflict", class: classPasses, advice: doNothing},
	115:      {name: "CommandNotSupported", class: classRequest, advice: doServer},
	117:      {name: "ConflictingOperationInProgress", class: classPasses, advice: doNothing},
	120:      {name: "OplogStartMissing", class: classLoss, advice: doOplog, reason: reasonHistoryLost},
	123:      {name: "NotAReplicaSet", class: classOutside, advice: doReplSet},
	133:      {name: "FailedToSatisfyReadPreference", class: classPasses, advice: doElection},
	134:      {name: "ReadConcernMajorityNotAvailableYet", class: classPasses, advice: doElection},
	136:      {name: "CappedPositionLost", class: classLoss, advice: doOplog, reason: reasonPositionLost},
	143:      {name: "CursorInUse", class: classPasses, advice: doNothing},
	145:      {name: "PooledConnectionsDropped", class: classPasses, advice: doNetwork},
	146:      {name: "ExceededMemoryLimit", class: classPasses, advice: doOverload},
	148:      {name: "ReadConcernMajorityNotEnabled", class: classOutside, advice: "start the server with majority read concern (enableMajorityReadConcern)"},
	149:      {name: "NoConfigPrimary", class: classPasses, advice: doSharding},
	150:      {name: "StaleEpoch", class: classPasses, advice: doSharding},
	164:      {name: "InitialSyncActive", class: classPasses, advice: doElection},
	166:      {name: "CommandNotSupportedOnView", class: classRequest, advice: "name the collection itself, a view has no change stream"},
	167:      {name: "OptionNotSupportedOnView", class: classRequest, advice: "name the collection itself, a view has no change stream"},
	168:      {name: "InvalidPipelineOperator", class: classRequest, advice: doServer},
	175:      {name: "QueryPlanKilled", class: classPasses, advice: doNothing},
	187:      {name: "LinearizableReadConcernError", class: classPasses, advice: doElection},
	188:      {name: "IncompatibleServerVersion", class: classRequest, advice: doServer},
	189:      {name: "PrimarySteppedDown", class: classPasses, advice: doElection},
	199:      {name: "ReplicaSetMonitorRemoved", class: classPasses, advice: doSharding},
	202:      {name: "NetworkInterfaceExceededTimeLimit", class: classPasses, advice: doNetwork},
	203:      {name: "ShardingStateNotInitialized", class: classPasses, advice: doSharding},
	204:      {name: "TimeProofMismatch", class: classPasses, advice: doClock},
	205:      {name: "ClusterTimeFailsRateLimiter", class: classPasses, advice: doClock},
	209:      {name: "StaleClusterTime", class: classPasses, advice: doClock},
	210:      {name: "CannotVerifyAndSignLogicalTime", class: classPasses, advice: doClock},
	211:      {name: "KeyNotFound", class: classPasses, advice: doClock},
	214:      {name: "AuthenticationRestrictionUnmet", class: classOutside, advice: doLogin},
	215:      {name: "DatabaseDropPending", class: classPasses, advice: doNothing},
	216:      {name: "ElectionInProgress", class: classPasses, advice: doElection},
	222:      {name: "CloseChangeStream", class: classLoss, advice: doNothing, reason: reasonCursorEnded},
	224:      {name: "QueryFeatureNotAllowed", class: classRequest, advice: doServer},
	234:      {name: "RetryChangeStream", class: classPasses, advice: doNothing},
	235:      {name: "InternalErrorNotSupported", class: classRequest, advice: doServer},
	237:      {name: "CursorKilled", class: classPasses, advice: "nothing to do unless it lasts: then look for what kills cursors or sessions"},
	238:      {name: "NotImplemented", class: classRequest, advice: doServer},
	239:      {name: "SnapshotTooOld", class: classPasses, advice: doTimeout},
	241:      {name: "ConversionFailure", class: classLoss, advice: doReport},
	246:      {name: "SnapshotUnavailable", class: classPasses, advice: doTimeout},
	249:      {name: "StaleDbVersion", class: classPasses, advice: doSharding},
	250:      {name: "StaleChunkHistory", class: classPasses, advice: doSharding},
	260:      {name: "InvalidResumeToken", class: classLoss, advice: doNothing, reason: reasonTokenRefused},
	261:      {name: "TooManyLogicalSessions", class: classPasses, advice: doOverload},
	262:      {name: "ExceededTimeLimit", class: classPasses, advice: doTimeout},
	264:      {name: "TooManyFilesOpen", class: classPasses, advice: "raise the server's limit of open files (ulimit -n)"},
	267:      {name: "PreparedTransactionInProgress", class: classPasses, advice: doNothing},
	272:      {name: "MigrationConflict", class: classPasses, advice: doSharding},
	279:      {name: "ClientDisconnect", class: classPasses, advice: doNetwork},
	280:      {name: "ChangeStreamFatalError", class: classLoss, advice: doNothing, reason: reasonTokenRemoved},
	286:      {name: "ChangeStreamHistoryLost", class: classLoss, advice: doOplog, reason: reasonHistoryLost},
	291:      {name: "NoQueryExecutionPlans", class: classOutside, advice: "create the index that is missing, or start the server without notablescan"},
	292:      {name: "QueryExceededMemoryLimitNoDiskUseAllowed", class: classPasses, advice: "create an index for the query's sort"},
	301:      {name: "DataCorruptionDetected", class: classLoss, advice: doData},
	303:      {name: "SplitHorizonChange", class: classPasses, advice: doElection},
	314:      {name: "ObjectIsBusy", class: classPasses, advice: doTimeout},
	317:      {name: "ConnectionPoolExpired", class: classPasses, advice: doNetwork},
	319:      {name: "MovePrimaryInProgress", class: classPasses, advice: doSharding},
	322:      {name: "APIVersionError", class: classOutside, advice: doStableAPI},
	323:      {name: "APIStrictError", class: classOutside, advice: doStableAPI},
	343:      {name: "ShardCannotRefreshDueToLocksHeld", class: classPasses, advice: doSharding},
	346:      {name: "ChangeStreamInvalidated", class: classLoss, advice: doNothing, reason: reasonInvalidate},
	347:      {name: "APIMismatchError", class: classOutside, advice: doStableAPI},
	348:      {name: "ChangeStreamTopologyChange", class: classPasses, advice: doSharding},
	351:      {name: "ChangeStreamStartAfterInvalidate", class: classLoss, advice: doNothing, reason: reasonTokenRefused},
	352:      {name: "UnsupportedOpQueryCommand", class: classRequest, advice: doServer},
	354:      {name: "LoadBalancerSupportMismatch", class: classOutside, advice: "set loadBalanced in the connection string as the server expects it"},
	355:      {name: "InterruptedDueToStorageChange", class: classPasses, advice: doNothing},
	357:      {name: "InvalidBSONType", class: classLoss, advice: doData},
	365:      {name: "TemporarilyUnavailable", class: classPasses, advice: doOverload},
	376:      {name: "ChangeStreamNotEnabled", class: classOutside, advice: "enable change streams for this database"},
	378:      {name: "NonConformantBSON", class: classLoss, advice: doData},
	391:      {name: "ReauthenticationRequired", class: classPasses, advice: doLogin},
	398:      {name: "StreamTerminated", class: classPasses, advice: doNetwork},
	401:      {name: "ResumeTenantChangeStream", class: classPasses, advice: doNothing},
	402:      {name: "ResourceExhausted", class: classPasses, advice: doOverload},
	404:      {name: "LDAPRoleAcquisitionError", class: classPasses, advice: "check that the server reaches its LDAP server"},
	407:      {name: "PooledConnectionAcquisitionExceededTimeLimit", class: classPasses, advice: doOverload},
	411:      {name: "QueryRejectedBySettings", class: classOutside, advice: "remove the query settings that reject keytail's queries (removeQuerySettings)"},
	412:      {name: "UpdatesStillPending", class: classPasses, advice: doNothing},
	433:      {name: "AdmissionQueueOverflow", class: classPasses, advice: doOverload},
	449:      {name: "RateLimitExceeded", class: classPasses, advice: doOverload},
	450:      {name: "PooledConnectionAcquisitionRejected", class: classPasses, advice: doOverload},
	453:      {name: "InterruptedDueToReshardingCriticalSection", class: classPasses, advice: doSharding},
	462:      {name: "IngressRequestRateLimitExceeded", class: classPasses, advice: doOverload},
	8000:     {name: "AtlasError", class: classOutside, advice: doLogin + "; grant what README.md lists under Privileges"},
	9001:     {name: "SocketException", class: classPasses, advice: doNetwork},
	10058:    {name: "LegacyNotPrimary", class: classPasses, advice: doElection},
	10107:    {name: "NotWritablePrimary", class: classPasses, advice: doElection},
	10334:    {name: "BSONObjectTooLarge", class: classLoss, advice: "keep the documents of the collection below 16 MB together with their change", reason: reasonEventTooLarge},
	11600:    {name: "InterruptedAtShutdown", class: classPasses, advice: doElection},
	11601:    {name: "Interrupted", class: classPasses, advice: "nothing to do unless it lasts: then look for what kills operations"},
	11602:    {name: "InterruptedDueToReplStateChange", class: classPasses, advice: doElection},
	13388:    {name: "StaleConfig", class: classPasses, advice: doSharding},
	13435:    {name: "NotPrimaryNoSecondaryOk", class: classPasses, advice: doElection},
	13436:    {name: "NotPrimaryOrSecondary", class: classPasses, advice: doElection},
	14031:    {name: "OutOfDiskSpace", class: classPasses, advice: doDisk},
	40324:    {name: "UnrecognizedPipelineStage", class: classRequest, advice: doServer},
	40413:    {name: "IDLDuplicateField", class: classRequest, advice: doReport},
	40414:    {name: "IDLFailedToParse", class: classRequest, advice: doReport},
	40415:    {name: "IDLUnknownField", class: classRequest, advice: doReport},
	40573:    {name: "ChangeStreamNeedsReplicaSet", class: classOutside, advice: doReplSet},
	46841:    {name: "ClientMarkedKilled", class: classPasses, advice: doNothing},
	56846:    {name: "ConfigServerUnreachable", class: classPasses, advice: doSharding},
	91331:    {name: "RetriableRemoteCommandFailure", class: classPasses, advice: doNothing},
	10045600: {name: "InterruptedDueToFCVChange", class: classPasses, advice: doNothing},
}
