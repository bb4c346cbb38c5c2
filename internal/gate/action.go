// SPDX-License-Identifier: Apache-2.0

package gate

// An Action is something that somebody can do here. Its text is what the audit
// log holds: never renamed, never used again for something else.
type Action string

const (
	ReadInventory  Action = "read-inventory"
	ReadMetrics    Action = "read-metrics"
	ReadCredential Action = "read-credential"
	ReadUses       Action = "read-uses"
	ReadRaw        Action = "read-raw"
	Export         Action = "export"
	Annotate       Action = "annotate"
	AcceptFinding  Action = "accept-finding"
	AssignFinding  Action = "assign-finding"
	StartRun       Action = "start-run"
	CancelRun      Action = "cancel-run"
	PauseRun       Action = "pause-run"
	ResumeRun      Action = "resume-run"
	ExpectChange   Action = "expect-change"
	UndoChange     Action = "undo-change" // in the directory where it was made
	ReadAudit      Action = "read-audit"
	ReadAccess     Action = "read-access"
	ManageAccess   Action = "manage-access"
	SignIn         Action = "sign-in"
	SignOut        Action = "sign-out"
	ReadSources    Action = "read-sources"
	ManageSources  Action = "manage-sources"

	IssueCertificate  Action = "issue-certificate"
	RevokeCertificate Action = "revoke-certificate"
	// RevokeOwnCertificate is for who has shown the certificate's private key or owns its account.
	RevokeOwnCertificate Action = "revoke-own-certificate"
	ApproveRequest       Action = "approve-request"
	RecallCertificate    Action = "recall-certificate"
	ReadAuthorities      Action = "read-authorities"
	ManageAuthorities    Action = "manage-authorities"
	ReadCustody          Action = "read-custody"
	ManageCustody        Action = "manage-custody"

	ManageRenewals Action = "manage-renewals"
	ManageDelivery Action = "manage-delivery"

	ReadRecalls    Action = "read-recalls"
	PlanRecall     Action = "plan-recall"
	OpenRecall     Action = "open-recall"
	ApproveRecall  Action = "approve-recall"
	ControlRecall  Action = "control-recall" // start, pause, resume, skip, retry, undo, cancel, say that a task is done
	ExtendRecall   Action = "extend-recall"
	ExportEvidence Action = "export-evidence"
	WorkAtDoors    Action = "work-at-doors" // of an agent, at the doors that are its own
	ManageAgents   Action = "manage-agents"

	ReadVault     Action = "read-vault"     // what is entrusted, and never a value
	ReadLineage   Action = "read-lineage"   // what could be read by whom
	EntrustSecret Action = "entrust-secret" // also to say that it is to be replaced
	RevealSecret  Action = "reveal-secret"  // to its holder, whom package vault knows
	RotateSecret  Action = "rotate-secret"  // a recall does, with a value that it takes and one that it makes
	ManageVault   Action = "manage-vault"
)

// A policy is what the table says about an action.
type policy struct {
	least Role
	// quiet says that only denials are recorded.
	quiet bool
}

// policies is the whole of who may do what. Everything that is allowed is
// recorded, with two exceptions for their volume: pages and scrapers read lists
// and metrics many times a minute, a record of each would bury the records that
// matter, and what such a list shows is names and dates. Opening one credential
// and taking the list away are recorded.
var policies = map[Action]policy{
	ReadInventory:  {least: Viewer, quiet: true},
	ReadMetrics:    {least: Viewer, quiet: true},
	ReadUses:       {least: Viewer, quiet: true},
	ReadCredential: {least: Viewer},
	Export:         {least: Viewer},
	SignIn:         {least: Viewer},
	SignOut:        {least: Viewer},
	ReadSources:    {least: Viewer, quiet: true},

	ReadRaw:       {least: Operator}, // what a log holds besides the use may be confidential
	Annotate:      {least: Operator},
	AcceptFinding: {least: Operator},
	AssignFinding: {least: Operator},
	StartRun:      {least: Operator},
	CancelRun:     {least: Operator},
	PauseRun:      {least: Operator},
	ResumeRun:     {least: Operator},
	ExpectChange:  {least: Operator},
	UndoChange:    {least: Admin}, // it writes to a directory, and one person decides

	ReadAudit:    {least: Admin},
	ReadAccess:   {least: Admin},
	ManageAccess: {least: Admin},

	ManageSources: {least: Admin},

	IssueCertificate:     {least: Client}, // and as the policy for certificates allows
	RevokeCertificate:    {least: Operator},
	RevokeOwnCertificate: {least: Client},
	ApproveRequest:       {least: Operator},
	RecallCertificate:    {least: Operator},
	ReadAuthorities:      {least: Viewer, quiet: true},
	ManageAuthorities:    {least: Admin},
	ReadCustody:          {least: Admin}, // it says what a stolen wrapping key opens
	ManageCustody:        {least: Admin},

	ManageRenewals: {least: Operator},
	ReadRecalls:    {least: Viewer, quiet: true},
	PlanRecall:     {least: Operator}, // it looks at every door
	OpenRecall:     {least: Operator},
	ApproveRecall:  {least: Operator}, // and never who opened it
	ControlRecall:  {least: Operator},
	ExtendRecall:   {least: Operator}, // and as many must approve as at the start
	ExportEvidence: {least: Operator},
	WorkAtDoors:    {least: Client, quiet: true}, // what it did is recorded step by step
	ManageAgents:   {least: Admin},

	ReadVault:     {least: Viewer, quiet: true},
	ReadLineage:   {least: Operator},
	EntrustSecret: {least: Operator},
	RevealSecret:  {least: Client},
	RotateSecret:  {least: Operator},
	ManageVault:   {least: Admin}, // it destroys, and says that a restored database is to be believed

	ManageDelivery: {least: Admin}, // which files are written and which commands are run after a renewal
}
