// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// postgres signs in as the user of the listener.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP
func postgres(t *talk) (verdict, error) {
	user := t.Details["user"]
	if user == "" {
		return verdict{}, invalid("a listener of PostgreSQL needs the detail \"user\"")
	}
	parameters := map[string]string{"user": user, "application_name": "tallystick"}
	if database := t.Details["database"]; database != "" {
		parameters["database"] = database
	}
	return t.query(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters})
}

func postgresAgain(t *talk) (verdict, error) { return t.query(&pgproto3.Query{String: "SELECT 1"}) }

// query sends a message and reads until the server waits for the next.
func (t *talk) query(message pgproto3.FrontendMessage) (verdict, error) {
	frontend := pgproto3.NewFrontend(t.in, t.conn)
	frontend.SetMaxBodyLen(messageLimit)
	frontend.Send(message)
	if err := t.sent(frontend.Flush()); err != nil {
		return verdict{}, err
	}
	for range maxLines {
		answer, err := frontend.Receive()
		if err != nil {
			return verdict{}, err
		}
		switch answer := answer.(type) {
		case *pgproto3.ReadyForQuery:
			return accepted("ready for a query"), nil
		case *pgproto3.ErrorResponse:
			return postgresVerdict(answer), nil
		case *pgproto3.AuthenticationCleartextPassword, *pgproto3.AuthenticationMD5Password, *pgproto3.AuthenticationSASL, *pgproto3.AuthenticationGSS:
			return refused("the server wants more than the certificate"), nil
		}
	}
	return verdict{}, fmt.Errorf("no answer in %d messages", maxLines)
}

// postgresVerdict reads an error. Class 28 is a sign-in that was refused; 57P01 ends
// a connection that was open, by order of somebody.
func postgresVerdict(e *pgproto3.ErrorResponse) verdict {
	answer := e.Severity + " " + e.Code + " " + e.Message
	if strings.HasPrefix(e.Code, "28") || e.Code == "57P01" {
		return refused(answer)
	}
	return failed(answer)
}
