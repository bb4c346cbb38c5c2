// SPDX-License-Identifier: Apache-2.0

// Package problem turns an error into what its readers need: a sentence and a
// hint for a person, a status for an HTTP client, an exit status for a shell.
// One table holds all of it, so that the commands, the API and the pages say the
// same about the same mistake.
//
// An error that the table does not know is "internal": it is our mistake, its
// text may say more than a stranger should read, and belongs in the log.
package problem

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/tallystick/tallystick"
)

// The exit statuses of every command.
const (
	ExitOK       = 0 // done
	ExitFailed   = 1 // anything that has no status of its own
	ExitUsage    = 2 // bad usage, or input that cannot be read
	ExitFindings = 3 // done, and what was asked to be treated as a failure was found
)

// A Problem is an error as its readers see it.
type Problem struct {
	Kind     string // kebab-case, a promise to clients: "not-found"
	Sentence string // what went wrong, the same for every error of the kind
	Detail   string // the text of the error; see Public
	Hint     string // what to do next, or ""
	Status   int    // HTTP status
	Exit     int    // exit status of a command

	public bool
}

// kind is one line of the table.
type kind struct {
	err error
	// public says that the text of such errors is written for whoever asked:
	// it speaks of their input and not of this machine.
	public bool
	Problem
}

// internal is the kind of everything that the table lacks.
const (
	internal         = "internal"
	internalSentence = "Something went wrong inside Tallystick."
	internalHint     = "This is likely a mistake in Tallystick. Its log says more; please report it with that line."
)

// kinds is in order of precedence: an error that is several of them is the first.
var kinds = [...]kind{
	{tallystick.ErrUnsigned, true, Problem{Kind: "not-signed-in", Status: http.StatusUnauthorized, Exit: ExitFailed,
		Sentence: "You are not signed in.", Hint: "Open a sign-in link, or send an API token that is still valid."}},
	{tallystick.ErrDenied, true, Problem{Kind: "not-allowed", Status: http.StatusForbidden, Exit: ExitFailed,
		Sentence: "You are not allowed to do that.", Hint: "Ask an administrator for a role that is."}},
	{tallystick.ErrNewerData, false, Problem{Kind: "newer-data", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "The data was written by a newer version of Tallystick.", Hint: "Start that version or a later one; nothing was changed."}},
	{tallystick.ErrDamaged, false, Problem{Kind: "damaged-data", Status: http.StatusInternalServerError, Exit: ExitFailed,
		Sentence: "The data is damaged and cannot be read.", Hint: "Stop Tallystick and restore the file from a backup; check the disk that it is on."}},
	{tallystick.ErrNoSpace, false, Problem{Kind: "no-space", Status: http.StatusInsufficientStorage, Exit: ExitFailed,
		Sentence: "There is no space left to write to.", Hint: "Free some space where the data is kept and try again; what was reported as done is kept."}},
	{syscall.ENOSPC, false, Problem{Kind: "no-space", Status: http.StatusInsufficientStorage, Exit: ExitFailed,
		Sentence: "There is no space left to write to.", Hint: "Free some space on that disk and try again."}},
	{syscall.EADDRINUSE, false, Problem{Kind: "address-in-use", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "Another program already listens on that address.", Hint: "Stop it, or choose another address with --listen."}},
	{tallystick.ErrInUse, false, Problem{Kind: "in-use", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "Another process is using the data.", Hint: "Stop the other process, or choose another directory with --data."}},
	{tallystick.ErrBusy, false, Problem{Kind: "busy", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "Nothing more can be taken in now.", Hint: "Send it again later; what was taken in already changes nothing."}},
	{tallystick.ErrUnavailable, false, Problem{Kind: "unavailable", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "Something that is needed for this cannot be reached now.", Hint: "Try again in a minute; nothing was lost. The log says what did not answer."}},
	{tallystick.ErrConflict, false, Problem{Kind: "conflict", Status: http.StatusConflict, Exit: ExitFailed,
		Sentence: "That cannot be done as things stand.", Hint: "Look at it again: somebody else may have changed it meanwhile. Then repeat what you still want to do."}},
	{tallystick.ErrInvalid, true, Problem{Kind: "invalid", Status: http.StatusBadRequest, Exit: ExitUsage,
		Sentence: "The input cannot be used as it is."}},
	{tallystick.ErrNotFound, true, Problem{Kind: "not-found", Status: http.StatusNotFound, Exit: ExitFailed,
		Sentence: "There is no such thing."}},
	{fs.ErrPermission, false, Problem{Kind: "permission-denied", Status: http.StatusInternalServerError, Exit: ExitUsage,
		Sentence: "The operating system does not permit that.", Hint: "Check who owns the file or the port, and as which user this runs."}},
	{fs.ErrNotExist, false, Problem{Kind: "no-such-file", Status: http.StatusInternalServerError, Exit: ExitUsage,
		Sentence: "There is no such file.", Hint: "Check the spelling of its path."}},
	{context.DeadlineExceeded, false, Problem{Kind: "timeout", Status: http.StatusGatewayTimeout, Exit: ExitFailed,
		Sentence: "It took too long.", Hint: "Try again, or ask for less at a time."}},
	{context.Canceled, false, Problem{Kind: "cancelled", Status: http.StatusServiceUnavailable, Exit: ExitFailed,
		Sentence: "It was stopped before it was done."}},
}

// Of returns what err is to its readers. Of nil it is the zero Problem, whose
// Exit is ExitOK.
func Of(err error) Problem {
	if err == nil {
		return Problem{}
	}
	p := Problem{Kind: internal, Sentence: internalSentence, Hint: internalHint,
		Status: http.StatusInternalServerError, Exit: ExitFailed}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			p, p.public = k.Problem, k.public
			break
		}
	}
	p.Detail = err.Error()
	if hint := tallystick.HintOf(err); hint != "" {
		p.Hint = hint
	}
	return p
}

// Public returns p as a stranger may read it: without the text of errors that
// may speak of this machine.
func (p Problem) Public() Problem {
	if !p.public {
		p.Detail = ""
	}
	return p
}

// Type returns the URI that names the kind (RFC 9457 section 3.1.1); it leads
// to where the kind is described.
func (p Problem) Type() string {
	return "https://github.com/tallystick/tallystick/blob/main/docs/problems.md#" + p.Kind
}

// With attaches to err what a person can do about it, in place of the hint of
// its kind. The outermost hint wins. The text of the error stays as it is, and
// so does what errors.Is says. Of nil it is nil.
func With(err error, hint string) error { return tallystick.WithHint(err, hint) }
