// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"

	"github.com/tallystick/tallystick"
)

// cloudTrailFormat is AWS CloudTrail: calls with long-lived access keys, and
// sessions of Roles Anywhere, which a certificate opens.
func cloudTrailFormat() Format {
	return Format{
		Name: "cloudtrail", layout: byElement,
		is:     func(record string) bool { return hasMembers(record, "eventTime", "eventSource", "eventName") },
		reader: stateless(readCloudTrail),
	}
}

type cloudTrail struct {
	u                                    tallystick.Use
	time, source, account, key, identity string
	certificate, serial, errorCode       string
}

func readCloudTrail(record string, sink Sink) error {
	var t cloudTrail
	c := cursor{text: record}
	if err := c.object(func(key string) error { return t.member(&c, key) }); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	if kind, ok := cloudTrailKind(t.source, t.u.Operation); ok && wantsChanges(sink) {
		if err := readCloudTrailChange(record, kind, sink); err != nil {
			return err
		}
	}
	return t.emit(sink)
}

func (t *cloudTrail) member(c *cursor, key string) error {
	switch key {
	case "eventID":
		return c.into(&t.u.ID)
	case "eventTime":
		return c.into(&t.time)
	case "eventSource":
		return c.into(&t.source)
	case "eventName":
		return c.into(&t.u.Operation)
	case "requestID":
		return c.into(&t.u.IDs.Request)
	case "sourceIPAddress":
		return c.into(&t.u.Address)
	case "userAgent":
		return c.into(&t.u.Agent)
	case "errorCode":
		return c.into(&t.errorCode)
	case "recipientAccountId":
		return c.into(&t.account)
	case "userIdentity":
		return t.within(c, func(name string) error {
			switch name {
			case "accessKeyId":
				return c.into(&t.key)
			case "arn":
				return c.into(&t.identity)
			}
			return c.skip()
		})
	case "requestParameters":
		return t.within(c, func(name string) error {
			if name == "cert" {
				return c.into(&t.certificate)
			}
			return c.skip()
		})
	case "additionalEventData":
		return t.within(c, func(name string) error {
			if name == "serialNumber" || name == "x509SerialNumber" {
				return c.into(&t.serial)
			}
			return c.skip()
		})
	}
	return c.skip()
}

// within calls member for an object, and steps over anything else.
func (t *cloudTrail) within(c *cursor, member func(string) error) error {
	if c.space() != '{' {
		return c.skip()
	}
	return c.object(member)
}

func (t *cloudTrail) emit(sink Sink) error {
	at, err := readTime(t.time)
	if err != nil {
		return err
	}
	u := &t.u
	if u.ID == "" {
		return errors.New("expected the eventID")
	}
	u.Source, u.Side, u.Level = "cloudtrail", tallystick.SideRelying, tallystick.LevelCall
	u.Time, u.Until, u.Count, u.Outcome = at, at, 1, tallystick.OutcomeSuccess
	if t.errorCode != "" {
		// The signature is checked before the permission (AWS, "Troubleshooting
		// access denied error messages").
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, t.errorCode
		if t.errorCode == "AccessDenied" || t.errorCode == "UnauthorizedOperation" || t.errorCode == "Client.UnauthorizedOperation" {
			u.Outcome = tallystick.OutcomeRefused
		}
	}
	u.Holder, u.RelyingParty = t.identity, "aws:"+t.account+"/"+t.source
	switch {
	case t.source == "rolesanywhere.amazonaws.com" && u.Operation == "CreateSession":
		u.Level = tallystick.LevelToken
		u.Credential = certificateNames(t.certificate)
		u.IDs.Serial = t.serial
		if len(u.Credential) == 0 && t.serial != "" {
			u.Credential = []string{"x509-serial:" + t.serial}
		}
	case len(t.key) > 4 && t.key[:4] == "AKIA": // long-lived keys; ASIA are sessions
		u.Credential = []string{"aws-key:" + t.key}
	}
	if len(u.Credential) == 0 {
		return nil
	}
	sink.Use(u)
	return nil
}
