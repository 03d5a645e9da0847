-- Rows of the key log as that release wrote them: log.json, and an administrator's reasons, of which later ones
-- would be refused.
INSERT INTO event (event_text, signature) VALUES
    ('{"id":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","prefix":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","sequenceNumber":0,"createdAt":"2025-11-01T00:00:00.000Z","purpose":"key-authorization","publicKey":"1AAIAp-Cu5n_DLXiXzGuWdIVJ-7rkMYX1HDDTKLfULWEHucj","rotationHash":"EOGj5w3lXaUxqZkvH3B6w3_kLk5ChXvdOerIYrGKTozl"}',
     '0ID8PrLuOVg4-uso0s3lLmRlAiYoWpTcQtfFVooe2SCaaVFWUChegd8n9PiYbFVyuoGatq2iFzULRtoS2QvenEW4');
INSERT INTO event (event_text, signature) VALUES
    ('{"id":"EH8qiupshJy9kKZbmHwSOLd2Flt6FsZ73OF_r_uJVyAL","prefix":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","sequenceNumber":1,"previous":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","createdAt":"2025-11-02T03:04:05.006Z","purpose":"key-authorization","publicKey":"1AAIAv8yUBggVxKJM5IXd7J02mpHLHlVxkX02glnPajoIoYe","rotationHash":"EGv13_1W53f29RS_7ecAlKajyEY_t8Je4sxbjNMoH0NU"}',
     '0IARphX9nqVwPeZJ64Uyp8oCu11-7bS9UViTp5WlZO1QlmeUJnGUBFXibncytIsJcPLOj4Hj-cJtD73kt89n88Fg');
INSERT INTO event (event_text, signature) VALUES
    ('{"id":"ENuhgSFF7MnF5uXYMZGsC-RIbnHlazRN4f3Z1QeghSXW","prefix":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","sequenceNumber":2,"previous":"EH8qiupshJy9kKZbmHwSOLd2Flt6FsZ73OF_r_uJVyAL","createdAt":"2025-11-03T12:30:45.120Z","purpose":"key-authorization","publicKey":"1AAIAhyw0CepuXsgAtnvmR4ba0W-wzn362VkH424kRQv75Yc","rotationHash":"EN3LMk5ZOmC2JZ5dI8nXvfEBqroNkCPoYL-3XWrkApGA"}',
     '0IDUoslyy3HmFPQC9LeMYg29X6jCVGEuO9d-0NCRO-QkTohQf08pP9ElRXVFHyAREUkUqjqNVMj_uUitFD5epfG6');
INSERT INTO event (event_text, signature) VALUES
    ('{"id":"EGMZhvgU2nAr2ERlo7v1rcMpVt70qtwUl85TXHqrXSgt","prefix":"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033","sequenceNumber":3,"previous":"ENuhgSFF7MnF5uXYMZGsC-RIbnHlazRN4f3Z1QeghSXW","createdAt":"2025-11-03T18:00:00.999Z","taintPrevious":true,"purpose":"key-authorization","publicKey":"1AAIAzhg_xSiQw_urR5_G0xt0QCYmD0AqmfxprL75hd-aAd1","rotationHash":"EJrArvqMa2JxXs3CRVzYkp_hnblAoCtv0FpGbuj4Ooiv"}',
     '0IBJOjlCzLLD4vQHXhf_ASTW0glk9QheDWiKawTaz4mosLwPm5Z4DEo5FeVVHiwrhnRQQrGHCKEOcG9R9rS4MSNx');
INSERT INTO admin_action (at, action, caller, reason, request_id, sequence_number, file_digest) VALUES
    ('2025-11-01T00:00:00.000Z', 'init', 'root', 'to begin', '', 0, NULL),
    ('2025-11-02T03:04:05.006Z', 'rotate', 'root', ' ', 'a-request', 1, NULL),
    ('2025-11-03T03:04:05.006Z', 'rotate', 'root', E'two\nlines', 'another', 2, NULL),
    ('2025-11-04T03:04:05.006Z', 'taint', 'root', 'seen elsewhere', 'a-third', 3, NULL),
    ('2025-11-05T03:04:05.006Z', 'import', 'root', 'a restore', '', 3, 'EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033');
