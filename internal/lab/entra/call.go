// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/netip"
	"time"
)

// Claims are those of an access token.
type Claims struct {
	Audience     string    // as it stands in the token
	API          string    // appId of the API that it is for
	Tenant       string    // tid
	AppID        string    // appid or azp
	ObjectID     string    // oid: the service principal
	Method       string    // appidacr or azpacr: 1 secret, 2 certificate
	Roles        []string  // roles
	UTI          string    // uti
	Issued, Ends time.Time // iat, exp
}

// Has says whether the token carries a role.
func (c *Claims) Has(roles ...string) bool {
	for _, has := range c.Roles {
		for _, role := range roles {
			if has == role {
				return true
			}
		}
	}
	return false
}

// A Call is a request to an API that carried a valid token, and its answer.
type Call struct {
	Tenant          *Tenant
	Service         string // ServiceGraph and so on
	Claims          Claims
	Time            time.Time
	Duration        time.Duration // of the emulator's own work
	RequestID       string        // the API chose it and answered it as request-id
	ClientRequestID string        // the client's, or RequestID
	OperationID     string        // RequestID, or that of the batch
	Method, URI     string        // the URI as the client wrote it, with scheme and host
	Status          int
	ResponseBytes   int
	Address         netip.Addr
	UserAgent       string
	// Mailbox is whose mail was read, if any was, and Opened the Internet message
	// ids of the messages.
	Mailbox *User
	Opened  []string
}

// An Audit is a record of the directory audit.
type Audit struct {
	ID, CorrelationID string
	Time, Readable    time.Time
	Activity          string // activityDisplayName, with its en dash and blank at the end
	Category          string
	Operation         string // operationType
	Actor             Actor
	// JSON is the record as Graph v1.0 shows it, BetaJSON with the linkable
	// identifiers that beta adds.
	JSON, BetaJSON []byte
}

// An Actor is who changed something: an application with a token, or a person.
type Actor struct {
	AppID, PrincipalID, Name string // of an application
	UserID, User             string // of a person: object id and principal name
	Address                  netip.Addr
	UserAgent                string
	UTI                      string
	TokenIssued              time.Time
	CorrelationID            string // of the request; "" is one that is drawn
}

// noteCall tells the hooks of a call.
func (w *World) noteCall(c Call) {
	w.hooks.RLock()
	defer w.hooks.RUnlock()
	for _, fn := range w.onCall {
		fn(c)
	}
}
