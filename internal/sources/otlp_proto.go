// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tallystick/tallystick"
)

// What is read of OTLP's protobuf (opentelemetry/proto/logs/v1/logs.proto and
// common/v1/common.proto) are a dozen fields. A library that builds all of an
// export follows values nested in values as deep as the sender likes, and a stack
// that overflows ends the process; here what is nested deeper than a list of texts
// is stepped over.
const (
	fieldResourceLogs = 1 // of ExportLogsServiceRequest
	fieldResource     = 1 // of ResourceLogs
	fieldScopeLogs    = 2
	fieldAttributes   = 1 // of Resource
	fieldLogRecords   = 2 // of ScopeLogs

	fieldTime             = 1 // of LogRecord
	fieldBody             = 5
	fieldRecordAttributes = 6
	fieldObserved         = 11

	fieldKey   = 1 // of KeyValue
	fieldValue = 2

	fieldString = 1 // of AnyValue
	fieldBool   = 2
	fieldInt    = 3
	fieldDouble = 4
	fieldArray  = 5
	fieldValues = 1 // of ArrayValue
)

var errProto = fmt.Errorf("%w: the body is no OTLP export of logs in protobuf", tallystick.ErrInvalid)

// A field is one of a message: bytes of a nested message or text, or a number.
type field struct {
	number protowire.Number
	bytes  []byte
	value  uint64
}

// fields calls do with each field of a message.
func fields(message []byte, do func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errProto
		}
		message = message[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message)
		default:
			if n = protowire.ConsumeFieldValue(number, kind, message); n >= 0 {
				message = message[n:]
				continue
			}
		}
		if n < 0 {
			return errProto
		}
		message = message[n:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}

// protoLogs calls each with the log records of an export. An error that is not
// each's is ErrInvalid.
func protoLogs(body []byte, each func(logRecord) error) error {
	return fields(body, func(f field) error {
		if f.number != fieldResourceLogs {
			return nil
		}
		service, err := protoService(f.bytes)
		if err != nil {
			return err
		}
		return fields(f.bytes, func(scope field) error {
			if scope.number != fieldScopeLogs {
				return nil
			}
			return fields(scope.bytes, func(one field) error {
				if one.number != fieldLogRecords {
					return nil
				}
				r, err := protoRecord(one.bytes)
				if err != nil {
					return err
				}
				r.service = service
				return each(r)
			})
		})
	})
}

// protoService returns the service.name of a ResourceLogs.
func protoService(message []byte) (service string, err error) {
	values := map[string]any{}
	err = fields(message, func(f field) error {
		if f.number != fieldResource {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			if f.number != fieldAttributes {
				return nil
			}
			return protoAttribute(f.bytes, values)
		})
	})
	service, _ = values[serviceOf].(string)
	return service, err
}

func protoRecord(message []byte) (logRecord, error) {
	r := logRecord{attributes: map[string]any{}}
	var observed uint64
	err := fields(message, func(f field) (err error) {
		switch f.number {
		case fieldTime:
			r.time = f.value
		case fieldObserved:
			observed = f.value
		case fieldBody:
			var body any
			body, err = protoValue(f.bytes, true)
			r.body, _ = body.(string)
		case fieldRecordAttributes:
			err = protoAttribute(f.bytes, r.attributes)
		}
		return err
	})
	if r.time == 0 {
		r.time = observed
	}
	return r, err
}

// protoAttribute adds a KeyValue.
func protoAttribute(message []byte, to map[string]any) error {
	var key string
	var value any
	err := fields(message, func(f field) (err error) {
		switch f.number {
		case fieldKey:
			key = string(f.bytes)
		case fieldValue:
			value, err = protoValue(f.bytes, true)
		}
		return err
	})
	if value != nil {
		to[key] = value
	}
	return err
}

// protoValue returns what jsonValue.value does; lists only where they are wanted.
func protoValue(message []byte, lists bool) (value any, err error) {
	err = fields(message, func(f field) error {
		switch f.number {
		case fieldString:
			value = string(f.bytes)
		case fieldBool:
			value = f.value != 0
		case fieldInt:
			value = int64(f.value)
		case fieldDouble:
			if n := math.Float64frombits(f.value); n-n == 0 {
				value = n
			}
		case fieldArray:
			if !lists {
				return nil
			}
			list := []string{}
			value = list
			return fields(f.bytes, func(f field) error {
				one, err := protoValue(f.bytes, false)
				if text, ok := one.(string); ok && f.number == fieldValues {
					list = append(list, text)
					value = list
				}
				return err
			})
		}
		return nil
	})
	return value, err
}

// LogsAnswer returns the body of the answer to an export that was taken in, an
// ExportLogsServiceResponse: how many records were rejected, and why.
func LogsAnswer(r Received, asJSON bool) []byte {
	why := ""
	if r.MalformedCount > 0 {
		why = fmt.Sprintf("record %d: %s", r.Malformed[0].Line, r.Malformed[0].Expected)
	}
	if asJSON {
		partial := map[string]any{}
		if r.MalformedCount > 0 {
			// 64-bit integers are text in protobuf's JSON.
			partial["partialSuccess"] = map[string]string{"rejectedLogRecords": fmt.Sprint(r.MalformedCount), "errorMessage": why}
		}
		text, err := json.Marshal(partial)
		if err != nil {
			panic(fmt.Sprintf("texts have no JSON: %v", err)) // cannot be
		}
		return text
	}
	if r.MalformedCount == 0 {
		return nil
	}
	partial := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(r.MalformedCount))
	partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), why)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

// LogsFailure returns the body of the answer to an export that was not taken in, a
// google.rpc.Status: OTLP wants one in place of problem details.
func LogsFailure(message string, asJSON bool) []byte {
	if asJSON {
		text, err := json.Marshal(map[string]string{"message": message})
		if err != nil {
			panic(fmt.Sprintf("a text has no JSON: %v", err)) // cannot be
		}
		return text
	}
	return protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), message)
}
