-- Whoever may write records can't write one that reads like another: a reason is not blank and holds no
-- control characters and none that change the direction of text. NOT VALID: the rows of earlier versions stay
-- as they are.
ALTER TABLE admin_action ADD CONSTRAINT admin_action_reason_readable CHECK (
    reason ~ '[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
    AND reason !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]'
) NOT VALID;
