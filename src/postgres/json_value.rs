//! Values of any type as JSON, like the server's own to_jsonb writes them, and as text.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::jsonb_length as length;
use super::jsonb_writer::ObjectWriter;
use super::{json_text, subtransaction, varlena};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// `to_jsonb(anyelement)`, whose number is the same on every major.
const TO_JSONB: u32 = 3787;

/// Types below this number are the server's own.
const FIRST_FOREIGN_TYPE: u32 = pg_sys::FirstNormalObjectId;

/// Bytes of text that a value may take up. What may take up more is not written.
pub const LONGEST: usize = 32 << 20;

/// What stands there instead.
pub const LEFT_OUT: &[u8] = b"*** left out: too long";

/// A value of so many bytes may be too long for what writes it as text or JSON, which then raises an error.
const LARGE: usize = 32 << 10;

/// How a type is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    /// text, varchar, and char with its blanks.
    Text,
    /// The same, whose blanks do not count when it is a text.
    Padded,
    Uuid,
    Date,
    Timestamp,
    TimestampTz,
    Jsonb,
    /// As the text that the type's own function writes.
    Output,
    /// As jsonb where it is one, otherwise as a text.
    Json,
    /// By the server: arrays, composites, types with a cast to json.
    Server,
    /// The same, of json somewhere inside.
    HoldsJson,
}

impl Kind {
    /// Decides as to_jsonb does. A domain is what it is over.
    pub fn of(type_: Oid) -> Self {
        // SAFETY: look-ups in the system caches.
        let base = unsafe { pg_sys::getBaseType(type_) };
        match base {
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::FLOAT4OID => Self::Float4,
            pg_sys::FLOAT8OID => Self::Float8,
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
            pg_sys::BPCHAROID => Self::Padded,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::DATEOID => Self::Date,
            pg_sys::TIMESTAMPOID => Self::Timestamp,
            pg_sys::TIMESTAMPTZOID => Self::TimestampTz,
            pg_sys::JSONBOID => Self::Jsonb,
            pg_sys::JSONOID => Self::Json,
            pg_sys::RECORDARRAYOID => Self::Server,
            _ if is_nested(base) && holds_json(base) => Self::HoldsJson,
            _ if is_nested(base) || has_cast_to_json(base) => Self::Server,
            _ => Self::Output,
        }
    }
}

impl Kind {
    /// May a value of this type be another text in another session?
    pub fn depends_on_settings(self, type_: Oid) -> bool {
        match self {
            Self::Float4 | Self::Float8 | Self::Server | Self::HoldsJson => true,
            Self::Output => !matches!(
                type_,
                pg_sys::NAMEOID
                    | pg_sys::CHAROID
                    | pg_sys::OIDOID
                    | pg_sys::INETOID
                    | pg_sys::CIDROID
                    | pg_sys::MACADDROID
                    | pg_sys::TIMEOID
                    | pg_sys::BITOID
                    | pg_sys::VARBITOID
            ),
            _ => false,
        }
    }
}

/// An array or a composite type.
fn is_nested(type_: Oid) -> bool {
    // SAFETY: look-ups in the system caches.
    unsafe {
        pg_sys::get_element_type(type_) != pg_sys::InvalidOid || pg_sys::type_is_rowtype(type_)
    }
}

/// Is it json, or are its elements or columns?
fn holds_json(type_: Oid) -> bool {
    // SAFETY: look-ups in the system caches; the descriptor is a copy.
    unsafe {
        let base = pg_sys::getBaseType(type_);
        let element = pg_sys::get_element_type(base);
        if base == pg_sys::JSONOID {
            return true;
        }
        if element != pg_sys::InvalidOid {
            return holds_json(element);
        }
        if base == pg_sys::RECORDOID || !pg_sys::type_is_rowtype(base) {
            return false;
        }
        let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(base, -1);
        let descriptor = pgrx::PgTupleDesc::from_pg_copy(descriptor);
        descriptor
            .iter()
            .any(|column| !column.attisdropped && holds_json(column.atttypid))
    }
}

fn has_cast_to_json(type_: Oid) -> bool {
    if type_.to_u32() < FIRST_FOREIGN_TYPE {
        return false;
    }
    let mut function = pg_sys::InvalidOid;
    // SAFETY: look-ups in the system caches; the out-pointer is live.
    let path = unsafe {
        pg_sys::find_coercion_pathway(
            pg_sys::JSONOID,
            type_,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            &raw mut function,
        )
    };
    path == pg_sys::CoercionPathType::COERCION_PATH_FUNC && function != pg_sys::InvalidOid
}

/// What the server's functions need to know, as long as the memory context it was made in lives.
pub struct Converter {
    kind: Kind,
    call: *mut pg_sys::FmgrInfo,
    /// The same as text.
    output: *mut pg_sys::FmgrInfo,
    /// Do values say themselves how long they are?
    varlena: bool,
}

impl Converter {
    /// For values of this type as JSON.
    pub fn to_json(kind: Kind, type_: Oid) -> Self {
        let call = match kind {
            Kind::Output => output(type_),
            Kind::Json | Kind::Server | Kind::HoldsJson => to_jsonb(type_),
            _ => std::ptr::null_mut(),
        };
        let output = match kind {
            Kind::HoldsJson => output(type_),
            _ => std::ptr::null_mut(),
        };
        Self::of(kind, type_, call, output)
    }

    /// For values of this type as text.
    pub fn to_text(kind: Kind, type_: Oid) -> Self {
        let call = match kind {
            Kind::Float4
            | Kind::Float8
            | Kind::Numeric
            | Kind::Jsonb
            | Kind::Output
            | Kind::Json
            | Kind::Server
            | Kind::HoldsJson => output(type_),
            _ => std::ptr::null_mut(),
        };
        Self::of(kind, type_, call, std::ptr::null_mut())
    }

    fn of(
        kind: Kind,
        type_: Oid,
        call: *mut pg_sys::FmgrInfo,
        output: *mut pg_sys::FmgrInfo,
    ) -> Self {
        Self {
            kind,
            call,
            output,
            // SAFETY: a look-up in the system caches.
            varlena: unsafe { pg_sys::get_typlen(type_) } == -1,
        }
    }

    /// Adds the value to an object, or that it was left out; returns how many bytes it takes up at most, there
    /// or as text. What it needs for that is allocated in the current memory context.
    ///
    /// # Safety
    /// The datum is of the converter's type and not null.
    #[inline]
    pub unsafe fn write(&self, datum: Datum, object: &mut ObjectWriter) -> usize {
        // Of a time, whichever it is, or a float without exponent.
        const SMALL: usize = 400;
        // SAFETY: the caller vouches for the type, which `kind` follows from.
        unsafe {
            match self.kind {
                Kind::Bool => object.boolean(datum.value() & 0xFF != 0),
                Kind::Int2 => object.integer(i64::from(datum.value() as i16)),
                Kind::Int4 => object.integer(i64::from(datum.value() as i32)),
                Kind::Int8 => object.integer(datum.value() as i64),
                Kind::Float4 => float(datum, pg_sys::float4out, object),
                Kind::Float8 => float(datum, pg_sys::float8out, object),
                Kind::Numeric => {
                    let body = varlena::bytes(datum);
                    number(body, object);
                    return body.len() + length::number(body);
                }
                Kind::Text | Kind::Padded => return string(varlena::bytes(datum), object),
                Kind::Uuid => object.string_by(|text| write_uuid(datum, text)),
                Kind::Date => {
                    object.string_by(|text| write_time(datum, pg_sys::DATEOID, None, text))
                }
                Kind::Timestamp => {
                    object.string_by(|text| write_time(datum, pg_sys::TIMESTAMPOID, None, text));
                }
                Kind::TimestampTz => {
                    object.string_by(|text| write_time(datum, pg_sys::TIMESTAMPTZOID, None, text));
                }
                Kind::Jsonb => return document(varlena::bytes(datum), object),
                Kind::Output | Kind::Json | Kind::Server | Kind::HoldsJson => {
                    return self.write_by_server(datum, object);
                }
            }
        }
        SMALL
    }

    /// # Safety
    /// As for [`Self::write`].
    unsafe fn write_by_server(&self, datum: Datum, object: &mut ObjectWriter) -> usize {
        // SAFETY: as above.
        unsafe {
            let size = if self.varlena {
                pg_sys::toast_raw_datum_size(datum)
            } else {
                0
            };
            if size > LONGEST {
                return left_out(object);
            }
            if size <= LARGE {
                return self.write_converted(datum, object);
            }
            // What is too long raises an error, before anything is written.
            match subtransaction::run(|| self.converted(datum)) {
                Ok(Converted::Text(text)) => string(text, object),
                Ok(Converted::Document(inner)) => document(inner, object),
                Err(_) => left_out(object),
            }
        }
    }

    /// # Safety
    /// As for [`Self::write`].
    unsafe fn write_converted(&self, datum: Datum, object: &mut ObjectWriter) -> usize {
        // SAFETY: as above.
        match unsafe { self.converted(datum) } {
            Converted::Text(text) => string(text, object),
            Converted::Document(inner) => document(inner, object),
        }
    }

    /// # Safety
    /// As for [`Self::write`].
    unsafe fn converted<'a>(&self, datum: Datum) -> Converted<'a> {
        // SAFETY: as above.
        unsafe {
            match self.kind {
                Kind::Output => return Converted::Text(text_of(self.call, datum)),
                Kind::Json => {
                    let text = varlena::bytes(datum);
                    if !json_text::is_jsonb(text) {
                        return Converted::Text(text);
                    }
                }
                Kind::HoldsJson => {
                    let text = text_of(self.output, datum);
                    if !json_text::may_hold_jsonb(text) {
                        return Converted::Text(text);
                    }
                }
                _ => {}
            }
            let document = pg_sys::FunctionCall1Coll(self.call, pg_sys::InvalidOid, datum);
            Converted::Document(varlena::bytes(document))
        }
    }

    /// Appends the value as a text that does not depend on the session's DateStyle or TimeZone.
    ///
    /// # Safety
    /// As for [`Self::write`].
    pub unsafe fn write_text(&self, datum: Datum, text: &mut Vec<u8>) {
        // SAFETY: as above.
        unsafe {
            match self.kind {
                Kind::Bool => text.extend_from_slice(if datum.value() & 0xFF != 0 {
                    b"true"
                } else {
                    b"false"
                }),
                Kind::Int2 => write_integer(i64::from(datum.value() as i16), text),
                Kind::Int4 => write_integer(i64::from(datum.value() as i32), text),
                Kind::Int8 => write_integer(datum.value() as i64, text),
                Kind::Text => text.extend_from_slice(varlena::bytes(datum)),
                Kind::Padded => {
                    let padded = varlena::bytes(datum);
                    let end = padded.iter().rposition(|byte| *byte != b' ');
                    text.extend_from_slice(&padded[..end.map_or(0, |end| end + 1)]);
                }
                Kind::Uuid => write_uuid(datum, text),
                Kind::Date => write_time(datum, pg_sys::DATEOID, None, text),
                Kind::Timestamp => write_time(datum, pg_sys::TIMESTAMPOID, None, text),
                Kind::TimestampTz => write_time(datum, pg_sys::TIMESTAMPTZOID, Some(0), text),
                _ => text.extend_from_slice(text_of(self.call, datum)),
            }
        }
    }
}

/// What the server made of a value.
enum Converted<'a> {
    Text(&'a [u8]),
    Document(&'a [u8]),
}

fn string(text: &[u8], object: &mut ObjectWriter) -> usize {
    let length = length::string(text);
    if length > LONGEST {
        return left_out(object);
    }
    object.string(text);
    length
}

fn document(inner: &[u8], object: &mut ObjectWriter) -> usize {
    let length = length::document(inner);
    if length > LONGEST {
        return left_out(object);
    }
    object.document(inner);
    // A number in a container takes up more than its digits.
    length.max(inner.len())
}

fn left_out(object: &mut ObjectWriter) -> usize {
    object.string(LEFT_OUT);
    LEFT_OUT.len()
}

/// The function that writes a type's values.
fn output(type_: Oid) -> *mut pg_sys::FmgrInfo {
    let (mut function, mut variable) = (pg_sys::InvalidOid, false);
    // SAFETY: the out-pointers are live, and the call's memory is the current context's.
    unsafe {
        pg_sys::getTypeOutputInfo(type_, &raw mut function, &raw mut variable);
        let call = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast();
        pg_sys::fmgr_info(function, call);
        call
    }
}

/// to_jsonb, told the type of its argument.
fn to_jsonb(type_: Oid) -> *mut pg_sys::FmgrInfo {
    // SAFETY: nodes and the call's memory are the current context's.
    unsafe {
        let call = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast::<pg_sys::FmgrInfo>();
        pg_sys::fmgr_info(Oid::from(TO_JSONB), call);
        let argument = pg_sys::makeNullConst(type_, -1, pg_sys::InvalidOid);
        let arguments = pg_sys::lappend(std::ptr::null_mut(), argument.cast());
        let expression = pg_sys::makeFuncExpr(
            Oid::from(TO_JSONB),
            pg_sys::JSONBOID,
            arguments,
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        (*call).fn_expr = expression.cast();
        call
    }
}

/// # Safety
/// The call is of the output function of the datum's type.
unsafe fn text_of<'a>(call: *mut pg_sys::FmgrInfo, datum: Datum) -> &'a [u8] {
    // SAFETY: an output function returns a C string in the current memory context.
    unsafe { CStr::from_ptr(pg_sys::OutputFunctionCall(call, datum)) }.to_bytes()
}

/// A numeric without the length in front; NaN and the infinities are texts in JSON.
fn number(body: &[u8], object: &mut ObjectWriter) {
    const SPECIAL: u16 = 0xC000;
    const INFINITE: u16 = 0xD000;
    const NEGATIVE_INFINITE: u16 = 0xF000;
    let word = body
        .first_chunk()
        .map_or(0, |word| u16::from_ne_bytes(*word));
    if word & SPECIAL != SPECIAL {
        return object.number(body);
    }
    object.string(match word & NEGATIVE_INFINITE {
        INFINITE => b"Infinity",
        NEGATIVE_INFINITE => b"-Infinity",
        _ => b"NaN",
    });
}

/// # Safety
/// The datum is what the function writes.
unsafe fn float(
    datum: Datum,
    output: unsafe fn(pg_sys::FunctionCallInfo) -> Datum,
    object: &mut ObjectWriter,
) {
    // SAFETY: the function takes the float and returns a C string; numeric_in takes that, a type and a typmod.
    unsafe {
        let Some(text) = pgrx::direct_function_call_as_datum(output, &[Some(datum)]) else {
            return object.null();
        };
        let bytes = CStr::from_ptr(text.cast_mut_ptr()).to_bytes();
        if bytes.iter().any(|byte| matches!(byte, b'N' | b'I')) {
            return object.string(bytes);
        }
        let arguments = [Some(text), Some(Datum::from(0)), Some(Datum::from(-1_i32))];
        match pgrx::direct_function_call_as_datum(pg_sys::numeric_in, &arguments) {
            Some(numeric) => object.number(varlena::bytes(numeric)),
            None => object.null(),
        }
    }
}

fn write_integer(value: i64, text: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}

/// # Safety
/// The datum is a uuid.
unsafe fn write_uuid(datum: Datum, text: &mut Vec<u8>) {
    // SAFETY: a uuid is sixteen bytes.
    let bytes = unsafe { *datum.cast_mut_ptr::<[u8; 16]>() };
    let mut room = [0; uuid::fmt::Hyphenated::LENGTH];
    let written = uuid::Uuid::from_bytes(bytes)
        .hyphenated()
        .encode_lower(&mut room);
    text.extend_from_slice(written.as_bytes());
}

/// As ISO 8601; a timestamptz with so many seconds west of Greenwich, or in the session's time zone.
///
/// # Safety
/// The datum is of the type.
unsafe fn write_time(datum: Datum, type_: Oid, zone: Option<i32>, text: &mut Vec<u8>) {
    // The server's MAXDATELEN.
    let mut room = [0 as std::ffi::c_char; 129];
    let zone = zone.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the room is what the function wants, and it ends what it writes there.
    unsafe {
        pg_sys::JsonEncodeDateTime(room.as_mut_ptr(), datum, type_, zone);
        text.extend_from_slice(CStr::from_ptr(room.as_ptr()).to_bytes());
    }
}
