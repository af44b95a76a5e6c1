package tokenstore

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Key is the partition key of the table in DynamoDB, a string.
const Key = "app"

// The attributes of an item in DynamoDB. Those whose field is zero are of type NULL, or absent.
const (
	attrApp          = Key
	attrCounter      = "counter"
	attrLeaseUntil   = "lease_until" // in milliseconds since 1970
	attrVersion      = "version"
	attrEntryCounter = "entry_counter"
	attrExpires      = "expires" // in seconds since 1970, as DynamoDB's time to live wants it
	attrSealed       = "sealed"
)

func key(app string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrApp: &types.AttributeValueMemberS{Value: app}}
}

// encode returns the attributes of an item without its key.
func encode(item Item) map[string]types.AttributeValue {
	attributes := map[string]types.AttributeValue{
		attrCounter:      number(item.Counter),
		attrLeaseUntil:   number(unixTime(item.LeaseUntil, time.Time.UnixMilli)),
		attrVersion:      null(),
		attrEntryCounter: number(item.Entry.Counter),
		attrExpires:      number(unixTime(item.Expires, time.Time.Unix)),
		attrSealed:       null(),
	}
	if item.Version != "" {
		attributes[attrVersion] = &types.AttributeValueMemberS{Value: item.Version}
	}
	if len(item.Sealed) > 0 {
		attributes[attrSealed] = &types.AttributeValueMemberB{Value: item.Sealed}
	}
	return attributes
}

func null() types.AttributeValue { return &types.AttributeValueMemberNULL{Value: true} }

func number(n int64) types.AttributeValue {
	if n == 0 {
		return null()
	}
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// unixTime returns t in a unit since 1970, and zero for the zero time.
func unixTime(t time.Time, in func(time.Time) int64) int64 {
	if t.IsZero() {
		return 0
	}
	return in(t)
}

// decode returns the item with these attributes, and a zero Item if there are none.
func decode(attributes map[string]types.AttributeValue) (Item, error) {
	if len(attributes) == 0 {
		return Item{}, nil
	}
	d := decoder{attributes: attributes}
	item := Item{
		Counter:    d.number(attrCounter),
		LeaseUntil: fromUnix(d.number(attrLeaseUntil), time.UnixMilli),
		Entry: Entry{
			Version: d.text(attrVersion),
			Counter: d.number(attrEntryCounter),
			Expires: fromUnix(d.number(attrExpires), func(s int64) time.Time { return time.Unix(s, 0) }),
			Sealed:  d.binary(attrSealed),
		},
	}
	if item.Counter < 1 || item.Counter == math.MaxInt64 {
		d.fail(attrCounter, "a positive number that can be incremented")
	}
	if d.err != nil {
		return Item{}, d.err
	}
	return item, nil
}

func fromUnix(n int64, in func(int64) time.Time) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return in(n)
}

// decoder reads attributes until the first error.
type decoder struct {
	attributes map[string]types.AttributeValue
	err        error
}

func (d *decoder) fail(name, want string) {
	if d.err == nil {
		d.err = fmt.Errorf("its attribute %s is not %s: delete the item", name, want)
	}
}

func (d *decoder) number(name string) int64 {
	switch v := d.attributes[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
		return 0
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err == nil {
			return n
		}
	}
	d.fail(name, "an integer of 64 bits")
	return 0
}

func (d *decoder) text(name string) string {
	switch v := d.attributes[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
	case *types.AttributeValueMemberS:
		return v.Value
	default:
		d.fail(name, "a string")
	}
	return ""
}

func (d *decoder) binary(name string) []byte {
	switch v := d.attributes[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
	case *types.AttributeValueMemberB:
		return v.Value
	default:
		d.fail(name, "binary")
	}
	return nil
}
