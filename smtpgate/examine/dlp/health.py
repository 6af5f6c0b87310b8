"""Dictionaries that come along: words of health, in the languages of many mails.

A word weighs what it says by itself: a diagnosis, or a remedy for one, more than what hospitals and gyms both say.
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.dlp.terms import Dictionary

_HEAVY: Final = (
    "hiv positive|hiv-positiv|hiv positif|hiv positivo|hepatitis b|hepatitis c|hepatite b|hepatite c|metasta*|"
    "chemotherap*|chimiotherapie|chimiothérapie|quimioterapia|chemioterapia|schizophreni*|schizophrénie|esquizofrenia|"
    "bipolar disorder|bipolare störung|trouble bipolaire|borderline personality|anorexi*|bulimi*|alzheimer*|parkinson*|"
    "multiple sclerosis|multiple sklerose|sclérose en plaques|esclerosis múltiple|sclerosi multipla|carcinoma|karzinom|"
    "carcinome|lymphoma|lymphom|leukemia|leukaemia|leukämie|leucémie|leucemia|melanoma|melanom|mastectom*|hysterectom*|"
    "miscarriage|fehlgeburt|fausse couche|aborto espontáneo|suicidal|suizidal*|suicidaire|substance abuse disorder|"
    "opioid dependence|methadone|antiretroviral*|syphilis|gonorrhea|chlamydia|tuberculosis|tuberkulose|tuberculose|"
    "diagnosed with|wurde diagnostiziert|diagnostiqué*|diagnosticado con|medical record number|krankenakte|"
    "dossier médical|historia clínica|cartella clinica|medisch dossier|psychiatric evaluation|psychiatrisches gutachten"
)
_MIDDLE: Final = (
    "diagnosis|diagnose|diagnostic médical|diagnóstico|diagnosi|prognosis|anamnes*|biopsy|biopsie|biopsia|oncolog*|"
    "onkolog*|radiotherap*|strahlentherapie|dialysis|dialyse|insulin|insuline|insulina|diabetes|diabète|"
    "hypertension|hypertonie|antidepress*|antipsychotic*|epilep*|asthma|copd|depressive episode|depression f32|"
    "discharge summary|arztbrief|entlassungsbrief|compte rendu médical|informe médico|referto|blood test results|"
    "blutbefund|laborbefund|mrt befund|mri scan|ct scan|lab results|pathology report|icd-10|icd 10|snomed|"
    "health insurance number|krankenversichertennummer|krankschreibung|arbeitsunfähigkeitsbescheinigung|sick note|"
    "arrêt maladie|baja médica|prescribed|verschrieben|ordonnance|receta médica|ricetta medica|milligrams daily|"
    "histolog*|immunotherap*|cardiomyopath*|myocardial infarction|herzinfarkt|infarctus|infarto|schlaganfall"
)
_LIGHT: Final = (
    "patient|patientin|paciente|paziente|patiënt|symptom|symptoms|symptome|symptômes|síntomas|sintomi|treatment|"
    "behandlung|traitement|tratamiento|trattamento|medication|medikament*|médicament*|medicamento*|farmaco|dosage|"
    "dosierung|posologie|hospital|krankenhaus|klinik|hôpital|ospedale|ziekenhuis|surgery|operation am|chirurgie|"
    "therapy|therapie|thérapie|terapia|physician|chronic|chronisch*|chronique|crónic*|allerg*|mg|tablets|tabletten"
)


def _weighed(text: str, weight: float) -> list[tuple[str, float]]:
    return [(term, weight) for term in text.split("|")]


DICTIONARIES: Final = {
    "health": Dictionary(
        "health",
        (*_weighed(_HEAVY, 5.0), *_weighed(_MIDDLE, 3.0), *_weighed(_LIGHT, 1.0)),
        threshold=10.0,
        most=2,
    )
}
